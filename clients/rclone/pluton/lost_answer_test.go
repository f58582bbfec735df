package pluton_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rclone/rclone/backend/crypt"
	"github.com/rclone/rclone/fs"
	"github.com/rclone/rclone/fs/config/configmap"
	"github.com/rclone/rclone/fs/config/obscure"
	"github.com/rclone/rclone/fs/fserrors"
	"github.com/rclone/rclone/fs/object"
	"github.com/rclone/rclone/fs/operations"
)

// relay stands between rclone and the server, and can keep answers back.
type relay struct {
	listener net.Listener
	target   string
	mu       sync.Mutex
	holds    bool
	open     []net.Conn
}

func newRelay(t testing.TB, target string) *relay {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: listener, target: target}
	t.Cleanup(func() { listener.Close(); r.cut() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				client.Close()
				continue
			}
			r.mu.Lock()
			r.open = append(r.open, client, server)
			r.mu.Unlock()
			go func() { _, _ = io.Copy(server, client) }()
			go r.answers(client, server)
		}
	}()
	return r
}

func (r *relay) answers(client, server net.Conn) {
	buffer := make([]byte, 64<<10)
	for {
		count, err := server.Read(buffer)
		if err != nil {
			client.Close()
			return
		}
		r.mu.Lock()
		holds := r.holds
		r.mu.Unlock()
		if !holds {
			_, _ = client.Write(buffer[:count])
		}
	}
}

func (r *relay) hold(holds bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.holds = holds
}

// cut ends all connections, and lets new ones through.
func (r *relay) cut() {
	r.hold(false)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, end := range r.open {
		end.Close()
	}
	r.open = nil
}

// uploads is how many files were sent to the account.
func (w world) uploads(t testing.TB) int {
	t.Helper()
	return w.calls(t).Calls["upload.cgi"]
}

// loseAnswer does what uploads a file, and keeps back the answer to that upload.
func (r *relay) loseAnswer(t testing.TB, w world, upload func() error) error {
	t.Helper()
	stored := w.uploads(t) + 1
	r.hold(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			if w.uploads(t) == stored {
				// Enough for the answer to be lost on its way.
				time.Sleep(500 * time.Millisecond)
				break
			}
		}
		r.cut()
	}()
	err := upload()
	<-done
	return err
}

// newLossy is a server, an Fs of it behind a relay that has its connection already, and one beside
// the relay.
func newLossy(t testing.TB) (w world, between *relay, f, direct fs.Fs) {
	t.Helper()
	w = newWorld(t, "none")
	between = newRelay(t, w.address)
	f = open(t, "", map[string]string{"address": between.listener.Addr().String()})
	if _, err := f.List(context.Background(), ""); err != nil {
		t.Fatal(err)
	}
	return w, between, f, w.open(t, "")
}

// loseOne uploads a file whose answer is lost, and which is not tried again by itself.
func (r *relay) loseOne(t testing.TB, w world, f fs.Fs, remote, content string) {
	t.Helper()
	err := r.loseAnswer(t, w, func() error {
		_, err := f.Put(context.Background(), strings.NewReader(content), info(remote, len(content)))
		return err
	})
	if !fserrors.IsRetryError(err) {
		t.Fatalf("an upload without an answer: %v", err)
	}
}

// copyTo copies a file as rclone does, with its low level retries.
func copyTo(t testing.TB, f fs.Fs, remote, content string) fs.Object {
	t.Helper()
	source := object.NewMemoryObject(remote, anyTime, []byte(content))
	dst, err := operations.Copy(context.Background(), f, nil, remote, source)
	if err != nil {
		t.Fatal(err)
	}
	return dst
}

// An upload whose answer is lost has its outcome told by the next try, and is stored once.
func TestAnUploadWhoseAnswerIsLostIsStoredOnce(t *testing.T) {
	w, between, f, _ := newLossy(t)
	content := strings.Repeat("x", 10_000)
	var dst fs.Object
	_ = between.loseAnswer(t, w, func() error {
		dst = copyTo(t, f, "file", content)
		return nil
	})
	if read(t, dst) != content {
		t.Error("the content is another")
	}
	if got := w.uploads(t); got != 1 {
		t.Errorf("%d uploads in place of 1: %v", got, w.calls(t))
	}
	equal(t, "what is stored", all(t, f), []string{"file " + content})
	// Afterwards the same content is a new upload.
	if err := dst.Remove(context.Background()); err != nil {
		t.Fatal(err)
	}
	copyTo(t, f, "file", content)
	if got := w.uploads(t); got != 2 {
		t.Errorf("%d uploads in place of 2", got)
	}
}

// What an earlier try stored is looked at, which costs no call.
func TestAnOutcomeThatHoldsCostsNothing(t *testing.T) {
	w, between, f, _ := newLossy(t)
	between.loseOne(t, w, f, "file", "content")
	before := w.calls(t).Total
	copyTo(t, f, "file", "content")
	if made := w.calls(t).Total - before; made != 0 {
		t.Errorf("%d calls for an upload that was stored already: %v", made, w.calls(t))
	}
}

// A file that was removed after its first upload, whose answer was lost, is stored anew.
func TestAnOutcomeIsNotTakenForAFileThatWasRemoved(t *testing.T) {
	ctx := context.Background()
	for name, remove := range map[string]func(direct fs.Fs) error{
		"delete": func(direct fs.Fs) error {
			o, err := direct.NewObject(ctx, "dir/file")
			if err != nil {
				return err
			}
			return o.Remove(ctx)
		},
		"purge": func(direct fs.Fs) error { return direct.Features().Purge(ctx, "dir") },
	} {
		t.Run(name, func(t *testing.T) {
			w, between, f, direct := newLossy(t)
			between.loseOne(t, w, f, "dir/file", "content")
			if err := remove(direct); err != nil {
				t.Fatal(err)
			}
			copyTo(t, f, "dir/file", "content")
			equal(t, "what is stored", all(t, direct), []string{"dir/", "dir/file content"})
			if got := w.uploads(t); got != 2 {
				t.Errorf("%d uploads in place of 2", got)
			}
		})
	}
}

// A file that was replaced after its first upload, whose answer was lost, is stored anew.
func TestAnOutcomeIsNotTakenForAFileThatWasReplaced(t *testing.T) {
	w, between, f, _ := newLossy(t)
	between.loseOne(t, w, f, "file", "version 1")
	copyTo(t, f, "file", "the second version")
	copyTo(t, f, "file", "version 1")
	equal(t, "what is stored", all(t, f), []string{"file version 1"})
	if got := w.uploads(t); got != 3 {
		t.Errorf("%d uploads in place of 3", got)
	}
}

// A file beside which another was stored since is there yet, and is not stored a second time; once
// it is removed, it is.
func TestAnOutcomeHoldsBesideANewerFile(t *testing.T) {
	ctx := context.Background()
	for _, removed := range []bool{false, true} {
		w, between, f, direct := newLossy(t)
		beside := func(content string) error {
			_, err := f.Features().PutUnchecked(ctx, strings.NewReader(content), info("dir/file", len(content)))
			return err
		}
		if err := between.loseAnswer(t, w, func() error { return beside("one") }); !fserrors.IsRetryError(err) {
			t.Fatalf("an upload without an answer: %v", err)
		}
		if removed {
			o, err := direct.NewObject(ctx, "dir/file")
			if err != nil {
				t.Fatal(err)
			}
			if err := o.Remove(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if err := beside("another"); err != nil {
			t.Fatal(err)
		}
		err := beside("one")
		if removed && fserrors.IsRetryError(err) {
			err = beside("one")
		}
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "what is stored", all(t, direct), []string{"dir/", "dir/file another", "dir/file one"})
	}
}

// Content that differs with each try, as that of crypt does, is stored by the try after the one
// that learned so.
func TestContentThatDiffersWithEachTryIsStored(t *testing.T) {
	ctx := context.Background()
	w, between, _, _ := newLossy(t)
	hidden, err := crypt.NewFs(ctx, "TestCrypt", "", configmap.Simple{
		"remote":              `:pluton,address="` + between.listener.Addr().String() + `":`,
		"password":            obscure.MustObscure("a password"),
		"filename_encryption": "standard",
		"filename_encoding":   "base32",
		"suffix":              ".bin",
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hidden.List(ctx, ""); err != nil {
		t.Fatal(err)
	}
	_ = between.loseAnswer(t, w, func() error {
		copyTo(t, hidden, "file", "content")
		return nil
	})
	equal(t, "what is stored", all(t, hidden), []string{"file content"})
	if got := w.uploads(t); got != 2 {
		t.Errorf("%d uploads in place of 2", got)
	}
}
