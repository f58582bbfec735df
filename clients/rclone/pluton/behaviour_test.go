package pluton_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rclone/rclone/fs"
	"github.com/rclone/rclone/fs/config/configmap"
	"github.com/rclone/rclone/fs/config/obscure"
	"github.com/rclone/rclone/fs/fserrors"
	"github.com/rclone/rclone/fs/hash"
	"github.com/rclone/rclone/fs/object"
	"github.com/rclone/rclone/fs/operations"
	"github.com/rclone/rclone/fs/walk"
	"github.com/rclone/rclone/lib/pacer"

	"pluton-fichier.example/rclone/pluton"
)

var anyTime = time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)

func open(t testing.TB, root string, values map[string]string) fs.Fs {
	t.Helper()
	f, err := pluton.NewFs(context.Background(), "Test", root, configmap.Simple(values))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Features().Shutdown(context.Background()) })
	return f
}

func (w world) open(t testing.TB, root string) fs.Fs {
	t.Helper()
	return open(t, root, map[string]string{"address": w.address})
}

func info(remote string, size int) fs.ObjectInfo {
	return object.NewStaticObjectInfo(remote, anyTime, int64(size), true, nil, nil)
}

func put(t testing.TB, f fs.Fs, remote, content string) fs.Object {
	t.Helper()
	o, err := f.Put(context.Background(), strings.NewReader(content), info(remote, len(content)))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func read(t testing.TB, o fs.Object) string {
	t.Helper()
	in, err := o.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	content, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// all is what a recursive listing shows: paths, and contents of files.
func all(t testing.TB, f fs.Fs) (shown []string) {
	t.Helper()
	err := walk.ListR(context.Background(), f, "", true, -1, walk.ListAll, func(entries fs.DirEntries) error {
		for _, entry := range entries {
			text := entry.Remote() + "/"
			if o, ok := entry.(fs.Object); ok {
				text = o.Remote() + " " + read(t, o)
			}
			shown = append(shown, text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(shown)
	return shown
}

func equal[T comparable](t testing.TB, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v in place of %v", what, got, want)
	}
}

// Each mode of rclone's dedupe does with files what it says, and merges directories first.
func TestDedupe(t *testing.T) {
	ctx := context.Background()
	for mode, left := range map[operations.DeduplicateMode][]string{
		operations.DeduplicateList:     {"d/", "d/", "d/a 1", "d/b 1", "f 1", "f 22", "f 22", "f 333"},
		operations.DeduplicateSkip:     {"d/", "d/a 1", "d/b 1", "f 1", "f 22", "f 333"},
		operations.DeduplicateNewest:   {"d/", "d/a 1", "d/b 1", "f 22"},
		operations.DeduplicateOldest:   {"d/", "d/a 1", "d/b 1", "f 1"},
		operations.DeduplicateLargest:  {"d/", "d/a 1", "d/b 1", "f 333"},
		operations.DeduplicateSmallest: {"d/", "d/a 1", "d/b 1", "f 1"},
		operations.DeduplicateRename:   {"d/", "d/a 1", "d/b 1", "f-1 *", "f-2 *", "f-3 *"},
		operations.DeduplicateFirst:    {"d/", "d/a 1", "d/b 1", "f *"},
	} {
		t.Run(mode.String(), func(t *testing.T) {
			w := newWorld(t, "none")
			w.order(t, "behaviour", `{"mkdir_existing": "duplicate"}`)
			api := strings.TrimSuffix(w.control, "/_control") + "/v1/folder/mkdir.cgi"
			for range 2 {
				request, err := http.NewRequest(http.MethodPost, api, strings.NewReader(`{"name": "d", "folder_id": 0}`))
				if err != nil {
					t.Fatal(err)
				}
				request.Header.Set("Authorization", "Bearer "+key)
				request.Header.Set("Content-Type", "application/json")
				answer, err := http.DefaultClient.Do(request)
				if err != nil || answer.StatusCode != http.StatusOK {
					t.Fatalf("%v %v", answer, err)
				}
				answer.Body.Close()
			}
			f := w.open(t, "")
			put(t, f, "d/a", "1")
			put(t, f, "d/b", "1")
			// A second apart: 1Fichier counts in seconds. Two of them are the same.
			for i, content := range []string{"1", "333", "22", "22"} {
				if i > 0 {
					time.Sleep(1100 * time.Millisecond)
				}
				if _, err := f.Features().PutUnchecked(ctx, strings.NewReader(content), info("f", len(content))); err != nil {
					t.Fatal(err)
				}
			}
			f.Features().DirCacheFlush()
			if err := operations.Deduplicate(ctx, f, mode, false); err != nil {
				t.Fatal(err)
			}
			shown := all(t, f)
			if mode == operations.DeduplicateRename || mode == operations.DeduplicateFirst {
				// Which of them has which name, or is the first, is not said.
				for i, text := range shown {
					if name, _, ok := strings.Cut(text, " "); ok && strings.HasPrefix(name, "f") {
						shown[i] = name + " *"
					}
				}
			}
			equal(t, "what is left", shown, left)
		})
	}
}

// Of several files with one path each is what it was listed as.
func TestAnObjectStaysTheFileThatWasListed(t *testing.T) {
	ctx := context.Background()
	f := newWorld(t, "none").open(t, "")
	for _, content := range []string{"one", "two"} {
		if _, err := f.Features().PutUnchecked(ctx, strings.NewReader(content), info("f", 3)); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := f.List(ctx, "")
	if err != nil || len(entries) != 2 {
		t.Fatalf("%v %v", entries, err)
	}
	newest, older := entries[0].(fs.Object), entries[1].(fs.Object)
	equal(t, "contents", []string{read(t, newest), read(t, older)}, []string{"two", "one"})
	if _, err := f.Features().Move(ctx, older, "moved"); err != nil {
		t.Fatal(err)
	}
	equal(t, "after the move", all(t, f), []string{"f two", "moved one"})
	replaced := put(t, f, "f", "three")
	if err := newest.Remove(ctx); err == nil {
		t.Error("a file that was replaced was removed")
	}
	equal(t, "after the replacement", all(t, f), []string{"f three", "moved one"})
	if err := replaced.Remove(ctx); err != nil {
		t.Error(err)
	}
}

// A download that breaks in the middle goes on where it was.
func TestADownloadThatBreaksGoesOn(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, "none")
	between := newRelay(t, w.address)
	f := open(t, "", map[string]string{"address": between.listener.Addr().String()})
	content := bytes.Repeat([]byte("0123456789abcdef"), 2<<20)
	o, err := f.Put(ctx, bytes.NewReader(content), info("large", len(content)))
	if err != nil {
		t.Fatal(err)
	}
	in, err := operations.Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	first := make([]byte, 1<<20)
	if _, err := io.ReadFull(in, first); err != nil {
		t.Fatal(err)
	}
	between.cut()
	rest, err := io.ReadAll(in)
	if err != nil || !bytes.Equal(append(first, rest...), content) {
		t.Errorf("%d bytes of %d, %v", len(first)+len(rest), len(content), err)
	}
}

// Streams of unknown size go straight through if that is asked for, and none of them is empty.
func TestStreams(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, "none")
	f := open(t, "", map[string]string{"address": w.address, "put_stream": "true"})
	content := strings.Repeat("stream ", 100_000)
	o, err := operations.Rcat(ctx, f, "stream", io.NopCloser(strings.NewReader(content)), anyTime, nil)
	if err != nil {
		t.Fatal(err)
	}
	if read(t, o) != content {
		t.Error("the content is another")
	}
	_, err = f.Features().PutStream(ctx, strings.NewReader(""), info("empty", -1))
	if err != fs.ErrorCantUploadEmptyFiles {
		t.Errorf("%v", err)
	}
	broken := io.MultiReader(strings.NewReader(content), failing{io.ErrUnexpectedEOF})
	if _, err = f.Features().PutStream(ctx, broken, info("broken", -1)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v", err)
	}
	if shown, err := f.List(ctx, ""); err != nil || len(shown) != 1 {
		t.Errorf("%v %v", shown, err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// What other programs changed is seen after a refresh, and the checksums that were recorded are told.
func TestRefreshAndChecksums(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, "none")
	f := w.open(t, "sub")
	other := newServer(t, w, "--calls-per-second", "0").open(t, "sub")
	o := put(t, f, "file", "content")
	put(t, other, "another", "content")
	equal(t, "before", all(t, f), []string{"file content"})
	if _, err := f.Features().Command(ctx, "refresh", nil, map[string]string{"reload": ""}); err != nil {
		t.Fatal(err)
	}
	equal(t, "after", all(t, f), []string{"another content", "file content"})
	for kind, want := range map[hash.Type]int{hash.Whirlpool: 128, hash.SHA256: 64, hash.MD5: 32} {
		if sum, err := o.Hash(ctx, kind); err != nil || len(sum) != want {
			t.Errorf("%v: %q %v", kind, sum, err)
		}
	}
	if _, err := o.Hash(ctx, hash.CRC32); err != hash.ErrUnsupported {
		t.Errorf("%v", err)
	}
	facts, err := f.Features().UserInfo(ctx)
	if err != nil || facts["plan"] == "" {
		t.Errorf("%v %v", facts, err)
	}
}

// While the account is locked, rclone is told for how long; with a wrong key or remote it stops.
func TestWhatCannotSucceedNow(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, "none")
	f := w.open(t, "")
	w.order(t, "fault", `{"endpoint": "v1", "times": 1000, "kind": "flood"}`)
	limited, config := fs.AddConfig(ctx)
	config.LowLevelRetries = 1
	// Without a deadline the server waits for the end of the lock.
	limited, cancel := context.WithTimeout(limited, 5*time.Second)
	defer cancel()
	_, err := f.List(limited, "")
	if delay, ok := pacer.IsRetryAfter(err); !ok || delay <= 0 || !fserrors.IsRetryAfterError(err) {
		t.Errorf("a lock of the account: %v", err)
	}
	_, err = pluton.NewFs(ctx, "Test", "", configmap.Simple{"address": w.address, "remote": "nothing"})
	if !fserrors.IsFatalError(err) || !strings.Contains(err.Error(), "fichier") {
		t.Errorf("an unknown remote: %v", err)
	}
	refused := newWorld(t, "none")
	refused.order(t, "fault", `{"endpoint": "v1", "times": 1000, "kind": {"ko": {"http": 403, "message": "Not authenticated #247"}}}`)
	if _, err = refused.open(t, "").List(ctx, ""); !fserrors.IsFatalError(err) {
		t.Errorf("a wrong key: %v", err)
	}
	// The server may ask once whose account it is.
	if made := refused.calls(t); made.Total-made.Calls["user/info"] > 1 || made.Calls["user/info"] > 1 {
		t.Errorf("%v calls with a wrong key", made)
	}
}

// certificate makes an authority, and what it vouches for: a certificate and its key.
func certificate(t testing.TB, directory, name string) (authority, cert, keyFile string) {
	t.Helper()
	template := func(leaf bool) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber:          big.NewInt(1),
			Subject:               pkix.Name{CommonName: fmt.Sprint(name, leaf)},
			DNSNames:              []string{"localhost"},
			NotBefore:             time.Now().Add(-time.Hour),
			NotAfter:              time.Now().Add(time.Hour),
			IsCA:                  !leaf,
			BasicConstraintsValid: true,
			KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
			ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
	}
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	file := func(suffix, kind string, content []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(directory, name+suffix)
		block := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content})
		if err := os.WriteFile(path, block, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	authorityKey, key := newKey(), newKey()
	made, err := x509.CreateCertificate(rand.Reader, template(false), template(false), &authorityKey.PublicKey, authorityKey)
	authority = file(".ca.pem", "CERTIFICATE", made, err)
	made, err = x509.CreateCertificate(rand.Reader, template(true), template(false), &key.PublicKey, authorityKey)
	cert = file(".pem", "CERTIFICATE", made, err)
	made, err = x509.MarshalPKCS8PrivateKey(key)
	return authority, cert, file(".key", "PRIVATE KEY", made, err)
}

// Encryption, client certificates, tokens with few rights, and Unix sockets.
func TestConnections(t *testing.T) {
	ctx := context.Background()
	directory := t.TempDir()
	authority, cert, keyFile := certificate(t, directory, "server")
	clientAuthority, clientCert, clientKey := certificate(t, directory, "client")
	state := t.TempDir()
	create := exec.Command(program(t), "token", "create", "reader", "--read-only", "--state-dir", state)
	printed, err := create.Output()
	if err != nil {
		t.Fatal(err)
	}
	secret := strings.TrimSpace(string(printed))
	socket := filepath.Join(directory, "run", "grpc.sock")
	if err := os.Mkdir(filepath.Dir(socket), 0o700); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, "none", "--state-dir", state, "--grpc-listen", "unix:"+socket,
		"--tls-cert", cert, "--tls-key", keyFile, "--tls-client-ca", clientAuthority)
	port := w.address[strings.LastIndex(w.address, ":"):]
	token := obscure.MustObscure(secret)

	unix := open(t, "", map[string]string{"address": "unix:" + socket})
	put(t, unix, "file", "content")
	settings := configmap.Simple{
		"address": "localhost" + port, "ca_cert": authority,
		"client_cert": clientCert, "client_key": clientKey, "token": token,
	}
	encrypted := open(t, "", settings)
	equal(t, "over TLS", all(t, encrypted), []string{"file content"})
	_, err = encrypted.Put(ctx, strings.NewReader("x"), info("forbidden", 1))
	if !errors.Is(err, fs.ErrorPermissionDenied) {
		t.Errorf("a token for reading writes: %v", err)
	}

	limited, config := fs.AddConfig(ctx)
	config.LowLevelRetries = 1
	without := func(name, value string) error {
		changed := configmap.Simple{}
		for name, value := range settings {
			changed[name] = value
		}
		changed[name] = value
		f, err := pluton.NewFs(limited, "Test", "", changed)
		if err == nil {
			_, err = f.List(limited, "")
		}
		return err
	}
	if err := without("token", obscure.MustObscure("another")); !fserrors.IsFatalError(err) || strings.Contains(err.Error(), "another") {
		t.Errorf("a wrong token: %v", err)
	}
	for name, value := range map[string]string{
		"address": "http://localhost" + port, "ca_cert": clientAuthority, "client_cert": "", "token": "not obscured",
	} {
		if err := without(name, value); err == nil {
			t.Errorf("%s does not matter", name)
		} else if strings.Contains(fmt.Sprint(err), secret) {
			t.Errorf("the token is in an error: %v", err)
		}
	}
}
