package feed

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/catchment-net/catchment/geodata"
)

// row is a Range as the tables below write it: first-last country/region city lat,lon AS, without what is not known.
func row(r geodata.Range) string {
	s := fmt.Sprintf("%v-%v", r.First, r.Last)
	for _, w := range []string{r.Continent, r.Country, r.Region, r.City} {
		if w != "" {
			s += " " + w
		}
	}
	if r.Point {
		s += fmt.Sprintf(" %g,%g", r.Lat, r.Lon)
	}
	if r.ASN != 0 {
		s += fmt.Sprintf(" AS%d", r.ASN)
	}
	return s
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func readAll(path string, o Options) (Format, []string, error) {
	var rows []string
	format, err := Read(path, o, func(r geodata.Range) error {
		rows = append(rows, row(r))
		return nil
	})
	return format, rows, err
}

func TestReadKnowsTheForm(t *testing.T) {
	for _, c := range []struct {
		name   string
		o      Options
		format Format
		text   string
		want   []string
	}{
		{"DB-IP country", Options{}, CSV, "192.0.2.0,192.0.2.255,DE\n2001:db8::,2001:db8::ffff,ZZ\n", []string{"192.0.2.0-192.0.2.255 DE", "2001:db8::-2001:db8::ffff"}},
		{"DB-IP city", Options{}, CSV, "0.0.0.0,0.255.255.255,ZZ,ZZ,,,0,0\n192.0.2.0,192.0.2.255,EU,DE,\"Land Berlin\",\"Berlin (Mitte)\",52.52,13.4\n", []string{"0.0.0.0-0.255.255.255", "192.0.2.0-192.0.2.255 EU DE Berlin (Mitte) 52.52,13.4"}},
		{"DB-IP ASN", Options{}, CSV, "192.0.2.0,192.0.2.255,64500,\"Example, Inc.\"\n", []string{"192.0.2.0-192.0.2.255 AS64500"}},
		{"IP2Location, numbers", Options{}, CSV, "\"0\",\"16777215\",\"-\",\"-\"\n\"3221225984\",\"3221226239\",\"DE\",\"Germany\"\n", []string{"0.0.0.0-0.255.255.255", "192.0.2.0-192.0.2.255 DE"}},
		{"IP2Location, IPv6 numbers", Options{}, CSV, "0,281470681743359,-,-\n281473902969344,281473902969599,DE,Germany\n42540766411282592856903984951653826560,42540766490510755371168322545197776895,NL,Netherlands\n", []string{"::-::fffe:ffff:ffff", "192.0.2.0-192.0.2.255 DE", "2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff NL"}},
		{"IP2Location DB5", Options{}, CSV, "3221225984,3221226239,US,United States of America,New York,New York City,40.7,-74\n", []string{"192.0.2.0-192.0.2.255 US New York City 40.7,-74"}},
		{"iptoasn", Options{}, CSV, "192.0.2.0\t192.0.2.255\t64500\tDE\tEXAMPLE, DE\n198.51.100.0\t198.51.100.255\t0\tNone\tNot routed\n", []string{"192.0.2.0-192.0.2.255 DE AS64500", "198.51.100.0-198.51.100.255"}},
		{"networks", Options{}, CSV, "# ours\n192.0.2.0/24,DE\n2001:db8::/32,US\n", []string{"192.0.2.0-192.0.2.255 DE", "2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff US"}},
		{"a header", Options{}, CSV, "\ufeffnetwork,note,country,region,city,latitude,longitude,asn\n192.0.2.0/24,x,us,CA,,,,AS64500\n198.51.100.0/24,,US,US-NY,New York,40.7,-74,\n", []string{"192.0.2.0-192.0.2.255 US US-CA AS64500", "198.51.100.0-198.51.100.255 US US-NY New York 40.7,-74"}},
		{"columns", Options{Format: CSV, Columns: []string{"start", "end", "-", "asn"}}, CSV, "192.0.2.0,192.0.2.255,DE,64500\n", []string{"192.0.2.0-192.0.2.255 AS64500"}},
		{"IPFire", Options{}, IPFire, "#\n# Location Database Export\n\naut-num:                 AS64500\nname:                    EXAMPLE\n\nnet:                     192.0.0.0/8\ncountry:                 US\n\nnet:                     192.0.2.0/24\ncountry:                 DE\naut-num:                 64500\nis-anycast:              yes\n", []string{"192.0.0.0-192.255.255.255 US", "192.0.2.0-192.0.2.255 DE AS64500"}},
		{"registry", Options{}, RIR, "2|ripencc|1667080799|3|19830705|20221029|+0200\nripencc|*|ipv4|*|2|summary\nripencc|DE|ipv4|192.0.2.0|768|20010101|allocated\nripencc|NL|ipv6|2001:db8::|32|20010101|assigned|x\nripencc|EU|asn|64500|1|20010101|allocated\nripencc||ipv4|198.51.100.0|256||available\n", []string{"192.0.2.0-192.0.4.255 DE", "2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff NL"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			format, rows, err := readAll(write(t, "source", []byte(c.text)), c.o)
			if err != nil || format != c.format {
				t.Errorf("format %q, error %v; want %q", format, err, c.format)
			}
			if d := cmp.Diff(c.want, rows); d != "" {
				t.Errorf("rows (-want +got):\n%s", d)
			}
		})
	}
}

// release is a small GeoLite2 release.
func release() map[string]string {
	return map[string]string{
		"GeoLite2-City-CSV_20261101/GeoLite2-City-Blocks-IPv4.csv": "network,geoname_id,registered_country_geoname_id,represented_country_geoname_id,is_anonymous_proxy,is_satellite_provider,postal_code,latitude,longitude,accuracy_radius,is_anycast\n" +
			"192.0.2.0/24,5128581,6252001,,0,0,10001,40.7,-74.0,20,\n198.51.100.0/24,,2921044,,0,0,,,,,1\n203.0.113.0/24,,,,0,0,,,,,\n",
		"GeoLite2-City-CSV_20261101/GeoLite2-City-Blocks-IPv6.csv": "network,geoname_id,registered_country_geoname_id,represented_country_geoname_id,is_anonymous_proxy,is_satellite_provider,postal_code,latitude,longitude,accuracy_radius,is_anycast\n2001:db8::/32,2921044,2921044,,0,0,,51.3,9.5,200,\n",
		"GeoLite2-City-CSV_20261101/GeoLite2-City-Locations-en.csv": "geoname_id,locale_code,continent_code,continent_name,country_iso_code,country_name,subdivision_1_iso_code,subdivision_1_name,subdivision_2_iso_code,subdivision_2_name,city_name,metro_code,time_zone,is_in_european_union\n" +
			"5128581,en,NA,\"North America\",US,\"United States\",NY,\"New York\",,,\"New York City\",501,America/New_York,0\n6252001,en,NA,\"North America\",US,\"United States\",,,,,,,,0\n2921044,en,EU,Europe,DE,Germany,,,,,,,Europe/Berlin,1\n",
		"GeoLite2-City-CSV_20261101/GeoLite2-City-Locations-de.csv": "not read",
	}
}

func TestMaxMindInItsFolderZipOrFile(t *testing.T) {
	dir := t.TempDir()
	var packed bytes.Buffer
	z := zip.NewWriter(&packed)
	for name, text := range release() {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	four := []string{"192.0.2.0-192.0.2.255 NA US US-NY New York City 40.7,-74", "198.51.100.0-198.51.100.255 EU DE", "203.0.113.0-203.0.113.255"}
	both := slices.Concat(four, []string{"2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff EU DE 51.3,9.5"})
	for _, c := range []struct {
		name, path string
		want       []string
	}{
		{"folder", dir, both},
		{"zip", write(t, "GeoLite2-City-CSV.zip", packed.Bytes()), both},
		{"file", filepath.Join(dir, "GeoLite2-City-CSV_20261101/GeoLite2-City-Blocks-IPv4.csv"), four},
		{"ASN", write(t, "GeoLite2-ASN-Blocks-IPv4.csv", []byte("network,autonomous_system_number,autonomous_system_organization\n192.0.2.0/24,64500,\"Example, Inc.\"\n")), []string{"192.0.2.0-192.0.2.255 AS64500"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			format, rows, err := readAll(c.path, Options{})
			if err != nil || format != MaxMind {
				t.Errorf("format %q, error %v", format, err)
			}
			if d := cmp.Diff(c.want, rows); d != "" {
				t.Errorf("rows (-want +got):\n%s", d)
			}
		})
	}
}

func TestReadUnpacksAndReadsMMDBs(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte("192.0.2.0,192.0.2.255,DE\n")); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if _, rows, err := readAll(write(t, "dbip.csv.gz", b.Bytes()), Options{}); err != nil || len(rows) != 1 {
		t.Errorf("gzipped: %v, %v", rows, err)
	}
	var d geodata.Draft
	if _, err := Read(write(t, "a.csv", []byte("192.0.2.0/25,DE\n192.0.2.128/25,DE\n")), Options{}, d.Add); err != nil {
		t.Fatal(err)
	}
	if err := d.Lay(); err != nil {
		t.Fatal(err)
	}
	b.Reset()
	if _, err := d.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	format, rows, err := readAll(write(t, "geo.mmdb", b.Bytes()), Options{})
	if err != nil || format != MMDB {
		t.Errorf("format %q, error %v", format, err)
	}
	if d := cmp.Diff([]string{"192.0.2.0-192.0.2.255 EU DE"}, rows); d != "" {
		t.Errorf("rows (-want +got):\n%s", d)
	}
}

func TestReadTellsAllMistakes(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
		text string
		want []string // in this order
	}{
		{"bad rows", Options{}, "192.0.2.0,192.0.2.255,DE\n192.0.2.9,192.0.2.1,DE\n192.0.2.0,2001:db8::,DE\n192.0.2.0,192.0.2.300,DE\n192.0.2.0,192.0.2.1,Germany\n", []string{`:2: range 192.0.2.9 to 192.0.2.1; want two addresses of one family, the lower one first`, `:3: range`, `:4: "192.0.2.300" is no address`, `:5: country "Germany"; want two letters`}},
		{"no columns", Options{}, "a,b,c\nd,e,f\n", []string{`:1: no header, and no columns that we know; name them with --columns`}},
		{"a header without addresses", Options{}, "country,asn\nDE,1\n", []string{`:1: no column ` + "`network`"}},
		{"a header twice", Options{}, "network,country,cc\n", []string{`:1: columns 2 and 3 are both "cc"`}},
		{"short row", Options{}, "network,country\n192.0.2.0/24\n", []string{":2: 1 fields; want at least 2"}},
		{"host bits", Options{}, "192.0.2.1/24,DE\n", []string{`:1: "192.0.2.1/24" has host bits set; did you mean 192.0.2.0/24?`}},
		{"coordinates", Options{}, "network,lat,lon\n192.0.2.0/24,91,0\n192.0.2.0/24,0,181\n192.0.2.0/24,x,0\n", []string{`:2: latitude "91"; want degrees from -90 to 90`, `:3: longitude "181"`, `:4: latitude "x"`}},
		{"AS number", Options{}, "network,asn\n192.0.2.0/24,4294967296\n", []string{`:2: AS number "4294967296"; want one up to 4294967295`}},
		{"continent", Options{}, "network,continent\n192.0.2.0/24,Europe\n", []string{`:2: continent "Europe"; want one of AF AN AS EU NA OC SA`}},
		{"IPFire", Options{}, "net: 192.0.2.0/33\ncountry: DE\n\nnet: 192.0.2.0/24\ncountry: D\nfoo\n", []string{`:1: "192.0.2.0/33" is no network`, `:5: country "D"`, `:6: "foo" is no ` + "`key: value`"}},
		{"registry", Options{}, "ripencc|DE|ipv4|192.0.2.0|0|20010101|allocated\nripencc|DE|ipv4|255.255.255.0|512|20010101|allocated\nripencc|DE|ipv6|2001:db8::|129|20010101|allocated\nripencc|DE|ipv6|2001:db8::1|32|20010101|allocated\n", []string{`:1: type "ipv4" from "192.0.2.0", value "0"`, `:2: 512 addresses from 255.255.255.0 on; there are not as many`, ":3: type", ":4: 2001:db8::1/32 has host bits set"}},
		{"locations", Options{}, "geoname_id,locale_code\n1,en\n", []string{":1: no header of MaxMind's blocks"}},
		{"unknown format", Options{Format: "xml"}, "", []string{`format "xml"; want one of mmdb, maxmind-csv, csv, ipfire, rir`}},
		{"not an MMDB", Options{}, "\x00\x01\x02", []string{"not an MMDB"}},
		{"no locations beside", Options{}, "network,geoname_id\n192.0.2.0/24,1\n", []string{"its places are in"}},
		{"too many", Options{}, "network,country\n" + strings.Repeat("x,DE\n", 30), []string{":2: ", ":21: ", "and perhaps more; stopped after 20 mistakes"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := readAll(write(t, "source", []byte(c.text)), c.o)
			if err == nil {
				t.Fatal("no error")
			}
			rest := err.Error()
			for _, want := range c.want {
				_, after, ok := strings.Cut(rest, want)
				if !ok {
					t.Fatalf("no %q in %q of:\n%v", want, rest, err)
				}
				rest = after
			}
		})
	}
	if _, _, err := readAll(filepath.Join(t.TempDir(), "none"), Options{}); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, _, err := readAll(t.TempDir(), Options{}); err == nil || !strings.Contains(err.Error(), "Blocks") {
		t.Errorf("a folder of nothing: %v", err)
	}
}

// Every reader takes anything without a crash, and what it gives is good enough for a draft.
func fuzz(f *testing.F, format Format, seeds ...string) {
	f.Helper()
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, "x-Blocks-IPv4.csv")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "x-Locations-en.csv"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		var d geodata.Draft
		_, err := Read(path, Options{Format: format}, func(r geodata.Range) error {
			if err := d.Add(r); err != nil {
				t.Errorf("a row that no draft takes: %v", err)
			}
			return nil
		})
		if err == nil {
			_ = d.Lay() // ranges may cross
		}
	})
}

func FuzzCSV(f *testing.F) {
	fuzz(f, CSV, "192.0.2.0,192.0.2.255,DE\n", "0,281470681743359,-,-\n", "network,country,lat,lon\n192.0.2.0/24,DE,1,2\n", "192.0.2.0\t192.0.2.255\t64500\tDE\tX\n")
}

func FuzzIPFire(f *testing.F) {
	fuzz(f, IPFire, "aut-num: AS1\nname: X\n\nnet: 192.0.2.0/24\ncountry: DE\naut-num: 1\n")
}

func FuzzRIR(f *testing.F) {
	fuzz(f, RIR, "ripencc|DE|ipv4|192.0.2.0|768|20010101|allocated\nripencc|NL|ipv6|2001:db8::|32|20010101|assigned\n")
}

func FuzzMaxMind(f *testing.F) {
	fuzz(f, MaxMind, "network,geoname_id,country_iso_code\n192.0.2.0/24,1,DE\n", "network,autonomous_system_number\n192.0.2.0/24,1\n")
}
