//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// allServers in the order of every round.
var allServers = []string{"catchment", "nginx", "varnish", "haproxy", "trafficserver", "nethttp"}

// server is one of them at work.
type server struct {
	name   string
	at     netip.AddrPort
	secure netip.AddrPort // over TLS, of those that endsTLS
	*process
	filled bool // it has been asked for every URL of the mixed load
}

// launch starts a server that caches the origin's answers in memory, with one worker.
func (b *bench) launch(ctx context.Context, name string) (*server, error) {
	s := &server{name: name}
	var err error
	if s.at, err = freePort(ctx); err != nil {
		return nil, err
	}
	if s.secure, err = freePort(ctx); err != nil {
		return nil, err
	}
	cert, key := filepath.Join(b.dir, "cert.pem"), filepath.Join(b.dir, "key.pem")
	dir := filepath.Join(b.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if werr := os.WriteFile(path, []byte(text), 0o644); werr != nil && err == nil {
			err = werr
		}
		return path
	}
	user := ""
	if os.Getuid() == 0 {
		user = "user root root;\n" // else its worker may not write into our folder
	}
	expand := strings.NewReplacer("USER", user, "SECURE", s.secure.String(), "CERT", cert, "KEY", key, "ADDR", s.at.String(), "PORT", fmt.Sprint(s.at.Port()), "ORIGINPORT", fmt.Sprint(b.origin.at.Port()), "ORIGIN", b.origin.at.String(), "DIR", dir).Replace
	var argv []string
	switch name {
	case "catchment":
		argv = []string{
			b.o.binary, "popd", "--listen", s.at.String(), "--origin", "http://" + b.origin.at.String(), "--memory", "512MiB", "--state", dir,
			"--listen-https", s.secure.String(), "--certificate", cert, "--key", key,
		}
	case "nethttp":
		argv = []string{b.self, roleFlag, "nethttp", s.at.String()}
	case "nginx":
		argv = []string{"nginx", "-p", dir, "-c", file("nginx.conf", expand(nginxConf))}
	case "varnish":
		argv = []string{"varnishd", "-F", "-j", "none", "-n", dir, "-a", s.at.String(), "-T", "none", "-f", file("default.vcl", expand(varnishVCL)), "-s", "malloc,512m", "-p", "thread_pools=1", "-p", "default_grace=10"}
	case "haproxy":
		argv = []string{"haproxy", "-db", "-f", file("haproxy.cfg", expand(haproxyCfg))}
	case "trafficserver":
		if argv, err = trafficServer(dir, expand); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, err
	}
	s.process, err = begin(ctx, serverCore, filepath.Join(dir, "output"), argv...)
	return s, err
}

// freePort is a port that nobody has at this moment.
func freePort(ctx context.Context) (netip.AddrPort, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", netip.AddrPortFrom(loopback, 0).String())
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer l.Close()
	return netip.ParseAddrPort(l.Addr().String())
}

// program is what must be installed for a server.
func program(name string) string {
	switch name {
	case "varnish":
		return "varnishd"
	case "trafficserver":
		return "traffic_server"
	}
	return name
}

const nginxConf = `USERworker_processes 1;
daemon off;
pid DIR/pid;
error_log DIR/error.log;
events { worker_connections 4096; }
http {
	access_log off;
	sendfile on;
	tcp_nopush on;
	keepalive_requests 1000000000;
	client_body_temp_path DIR/body;
	proxy_temp_path DIR/proxy;
	fastcgi_temp_path DIR/fastcgi;
	uwsgi_temp_path DIR/uwsgi;
	scgi_temp_path DIR/scgi;
	proxy_cache_path DIR/cache levels=1:2 keys_zone=main:64m max_size=512m inactive=1h use_temp_path=off;
	open_file_cache max=15000 inactive=1h;
	upstream origin { server ORIGIN; keepalive 64; }
	server {
		listen ADDR;
		listen SECURE ssl http2;
		ssl_certificate CERT;
		ssl_certificate_key KEY;
		location / {
			proxy_pass http://origin;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_cache main;
			add_header Cache-Status $upstream_cache_status;
		}
	}
}
`

const varnishVCL = `vcl 4.1;
backend default { .host = "127.0.0.1"; .port = "ORIGINPORT"; }
`

const haproxyCfg = `global
	nbthread 1
	maxconn 2000
defaults
	mode http
	timeout client 60s
	timeout server 60s
	timeout connect 5s
cache main
	total-max-size 512
	max-object-size 2097152
	max-age 3600
frontend web
	bind ADDR
	http-request cache-use main
	http-response cache-store main
	default_backend origin
backend origin
	server origin ORIGIN
`

// trafficServer makes a run root, which is how Traffic Server runs without rights.
func trafficServer(dir string, expand func(string) string) ([]string, error) {
	for _, sub := range []string{"etc", "cache", "log", "run"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	for name, text := range map[string]string{
		"etc/records.config": atsRecords, "etc/remap.config": "map / http://ORIGIN/\n", "etc/storage.config": "DIR/cache 256M\n", "etc/plugin.config": "\n",
		"etc/ip_allow.yaml": "ip_allow:\n  - apply: in\n    ip_addrs: 0/0\n    action: allow\n    methods: ALL\n",
		"runroot.yaml":      "prefix: DIR\nsysconfdir: DIR/etc\ndatadir: DIR/cache\nlocalstatedir: DIR\nruntimedir: DIR/run\nlogdir: DIR/log\ncachedir: DIR/cache\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(expand(text)), 0o644); err != nil {
			return nil, err
		}
	}
	return []string{"traffic_server", "--run-root=" + filepath.Join(dir, "runroot.yaml")}, nil
}

const atsRecords = `CONFIG proxy.config.http.server_ports STRING PORT:ip-in=127.0.0.1
CONFIG proxy.config.exec_thread.autoconfig INT 0
CONFIG proxy.config.exec_thread.limit INT 1
CONFIG proxy.config.accept_threads INT 0
CONFIG proxy.config.cache.threads_per_disk INT 1
CONFIG proxy.config.task_threads INT 1
CONFIG proxy.config.admin.user_id STRING #-1
CONFIG proxy.config.cache.ram_cache.size INT 512M
CONFIG proxy.config.cache.ram_cache_cutoff INT 8M
CONFIG proxy.config.http.cache.required_headers INT 1
CONFIG proxy.config.log.logging_enabled INT 0
CONFIG proxy.config.diags.debug.enabled INT 0
CONFIG proxy.config.http.insert_response_via_str INT 1
CONFIG proxy.config.url_remap.remap_required INT 1
`
