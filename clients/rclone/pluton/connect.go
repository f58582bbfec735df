package pluton

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rclone/rclone/fs"
	"github.com/rclone/rclone/fs/config/obscure"
	"github.com/rclone/rclone/fs/fserrors"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

const (
	streamWindow     = 4 << 20
	connectionWindow = 16 << 20
	// A page of a listing is larger than what gRPC takes by default.
	maxMessage = 64 << 20
)

// place is where a server listens.
type place struct {
	target    string
	encrypted bool
	// The scheme was given, so it is not guessed.
	explicit bool
	// What is sent there does not leave this machine.
	local bool
}

// parseAddress reads any of the forms that the server's own client takes: host:port,
// http://host:port, https://host:port and unix:/path.
func parseAddress(address string) (place, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		path = strings.TrimPrefix(path, "//")
		if path == "" {
			return place{}, errors.New("no path of a socket")
		}
		return place{target: "unix:" + path, explicit: true, local: true}, nil
	}
	var found place
	hostport := address
	if scheme, rest, ok := strings.Cut(address, "://"); ok {
		if scheme != "http" && scheme != "https" {
			return place{}, fmt.Errorf("unknown scheme %q", scheme)
		}
		found.explicit, found.encrypted = true, scheme == "https"
		hostport = strings.TrimSuffix(rest, "/")
	}
	host, port, err := net.SplitHostPort(hostport)
	if err != nil && found.explicit {
		host, port = strings.Trim(hostport, "[]"), map[bool]string{false: "80", true: "443"}[found.encrypted]
		if host == "" {
			return place{}, errors.New("no host")
		}
	} else if err != nil {
		return place{}, errors.New("no port")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return place{}, fmt.Errorf("%q is no port", port)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	found.target = "dns:///" + net.JoinHostPort(host, port)
	found.local = strings.EqualFold(host, "localhost") || net.ParseIP(host).IsLoopback()
	return found, nil
}

// tlsConfig is TLS as it is asked for; without an authority, those of the system count.
func (o *Options) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CACert != "" {
		pem, err := os.ReadFile(o.CACert)
		if err != nil {
			return nil, fmt.Errorf("ca_cert: %w", err)
		}
		if config.RootCAs = x509.NewCertPool(); !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_cert: %s has no certificate", o.CACert)
		}
	}
	if (o.ClientCert == "") != (o.ClientKey == "") {
		return nil, errors.New("client_cert and client_key belong together: set both or none")
	}
	if o.ClientCert != "" {
		pair, err := tls.LoadX509KeyPair(o.ClientCert, o.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("client_cert: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// token goes with every call.
type token string

func (t token) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(t)}, nil
}

// RequireTransportSecurity is false for Unix sockets and loopback: where else a token may go
// unencrypted, dial decides.
func (t token) RequireTransportSecurity() bool { return false }

// dial makes the connection; it is opened with the first call.
func dial(o *Options) (*grpc.ClientConn, error) {
	where, err := parseAddress(o.Address)
	if err != nil {
		return nil, fmt.Errorf("address %q is not usable: %w; write host:port, http://host:port, https://host:port or unix:/path", o.Address, err)
	}
	security, encrypted := insecure.NewCredentials(), false
	if where.encrypted || !where.explicit && (o.CACert != "" || o.ClientCert != "") {
		config, err := o.tlsConfig()
		if err != nil {
			return nil, err
		}
		security, encrypted = credentials.NewTLS(config), true
	}
	if o.Token != "" && !encrypted && !where.local && !where.explicit {
		return nil, fserrors.FatalError(fmt.Errorf(
			"the token would go to %s unencrypted: set ca_cert, or write https://%s; if the network between is trusted, write http://%s",
			o.Address, o.Address, o.Address))
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(security),
		grpc.WithUserAgent("rclone-pluton/" + fs.VersionTag),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 20 * time.Second}),
		grpc.WithInitialWindowSize(streamWindow),
		grpc.WithInitialConnWindowSize(connectionWindow),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		// What may be repeated is repeated here, and no setting in the DNS changes that.
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
	}
	if o.Token != "" {
		clear, err := obscure.Reveal(o.Token)
		if err != nil {
			return nil, fmt.Errorf("token: %w; set it with `rclone config`, or `rclone obscure` it", err)
		}
		options = append(options, grpc.WithPerRPCCredentials(token(strings.TrimSpace(clear))))
	}
	return grpc.NewClient(where.target, options...)
}
