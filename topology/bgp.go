package topology

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"github.com/catchment-net/catchment/internal/conf"
)

// readBGP reads how all nodes speak BGP.
func readBGP(v conf.Value) BGP {
	f := v.Fields("rpki", "bmp", "mrt")
	var b BGP
	if rpki := f.Get("rpki"); rpki.Exists() {
		k := rpki.Fields("servers", "invalid")
		b.RPKI.Servers = readHosts(k.Need("servers", "write where to ask: `servers: [198.51.100.8:3323]`"), "3323")
		if invalid := k.Get("invalid"); invalid.Exists() {
			b.RPKI.Refuse = invalid.Enum("warn", "refuse") == "refuse"
		}
	}
	b.BMP = readHosts(f.Get("bmp"), "11019")
	if mrt := f.Get("mrt"); mrt.Exists() {
		b.MRT = readMRT(mrt)
	}
	return b
}

// readMRT reads where UPDATEs are kept. The library writes the time into the whole path, as time.Format does, so a
// directory called node1 would become node11 in November.
func readMRT(v conf.Value) MRT {
	k := v.Fields("file", "rotate")
	file := k.Need("file", "write where: `file: /var/lib/catchment/20060102.1504.mrt`")
	m := MRT{File: file.Word()}
	if rotate := k.Get("rotate"); rotate.Exists() {
		m.Rotate = positive(rotate, time.Minute, 31*24*time.Hour)
	}
	dir, base := filepath.Split(m.File)
	switch {
	case m.File == "":
	case !filepath.IsAbs(m.File):
		file.Fail(fmt.Sprintf("file %q is not an absolute path", m.File), "write one that begins with `/`")
	case changes(dir):
		file.Fail(fmt.Sprintf("directory %q holds digits or a name that would be replaced by the time", dir), "use one without, such as /var/lib/catchment/")
	case m.Rotate > 0 && !changes(base):
		file.Fail(fmt.Sprintf("file %q has no time in its name, so there is only one", base), "write day and minute as `20060102.1504.mrt`, or leave `rotate` out")
	case m.Rotate == 0 && changes(base):
		file.Fail(fmt.Sprintf("file %q has a time in its name", base), "say how often the next one begins: `rotate: 1h`, or write a name without digits")
	}
	return m
}

// changes reports whether text is a layout of time.Format.
func changes(text string) bool {
	a := time.Date(2031, time.March, 4, 5, 7, 8, 0, time.UTC)
	return a.Format(text) != text || a.Add(1000*time.Hour).Format(text) != text
}

// readHosts reads a list of HOST:PORT.
func readHosts(v conf.Value, port string) []string {
	var all []string
	for _, item := range v.Items() {
		word := item.Word()
		if word == "" {
			continue
		}
		host, digits, err := net.SplitHostPort(word)
		n, numErr := strconv.ParseUint(digits, 10, 16)
		if err != nil || numErr != nil || host == "" || n == 0 {
			item.Fail(fmt.Sprintf("%q is not HOST:PORT", word), "write it as 198.51.100.8:"+port)
			continue
		}
		all = append(all, word)
	}
	return all
}
