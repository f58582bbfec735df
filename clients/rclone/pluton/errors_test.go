package pluton

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rclone/rclone/fs"
	"github.com/rclone/rclone/fs/config/obscure"
	"github.com/rclone/rclone/fs/fserrors"
	"github.com/rclone/rclone/fs/hash"
	"github.com/rclone/rclone/lib/pacer"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	storage "pluton-fichier.example/rclone/gen/pluton/storage/v1"
)

func told(code codes.Code, reason string, delay time.Duration) error {
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Domain: domain, Reason: reason}}
	if delay > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(delay)})
	}
	answer, err := status.New(code, "what failed").WithDetails(details...)
	if err != nil {
		panic(err)
	}
	return answer.Err()
}

// What the server says becomes what rclone goes by.
func TestReasonsBecomeWhatRcloneGoesBy(t *testing.T) {
	for reason, sentinel := range map[string]error{
		"FILE_NOT_FOUND":      fs.ErrorObjectNotFound,
		"DIRECTORY_NOT_FOUND": fs.ErrorDirNotFound,
		"IS_A_DIRECTORY":      fs.ErrorIsDir,
		"NOT_A_DIRECTORY":     fs.ErrorIsFile,
		"DIRECTORY_NOT_EMPTY": fs.ErrorDirectoryNotEmpty,
		"EMPTY_FILE":          fs.ErrorCantUploadEmptyFiles,
	} {
		if got := explain(told(codes.NotFound, reason, 0)); got != sentinel {
			t.Errorf("%s: %v in place of exactly %v", reason, got, sentinel)
		}
	}
	for _, reason := range []string{"UPSTREAM_CREDENTIALS_REJECTED", "TOKEN_INVALID", "REMOTE_NOT_FOUND"} {
		if err := explain(told(codes.FailedPrecondition, reason, 0)); !fserrors.IsFatalError(err) {
			t.Errorf("%s is not fatal: %v", reason, err)
		}
	}
	for _, reason := range []string{"READ_ONLY", "PREFIX_FORBIDDEN", "UPSTREAM_ACCESS_DENIED"} {
		err := explain(told(codes.PermissionDenied, reason, 0))
		if !errors.Is(err, fs.ErrorPermissionDenied) || !fserrors.IsNoRetryError(err) {
			t.Errorf("%s: %v", reason, err)
		}
	}
	for _, reason := range []string{"STORAGE_QUOTA_EXCEEDED", "FILE_TOO_LARGE", "INVALID_PATH", "CAPABILITY_MISSING"} {
		if err := explain(told(codes.InvalidArgument, reason, 0)); !fserrors.IsNoRetryError(err) {
			t.Errorf("%s would be tried again: %v", reason, err)
		}
	}
	for _, reason := range []string{"UPSTREAM_LOCKED", "UPSTREAM_UNAVAILABLE", "TOO_MANY_TRANSFERS", "SPOOL_FULL"} {
		err := explain(told(codes.Unavailable, reason, 7*time.Second))
		if delay, ok := pacer.IsRetryAfter(err); !ok || delay != 7*time.Second {
			t.Errorf("%s: the delay is lost for copies: %v", reason, err)
		}
		if until := time.Until(fserrors.RetryAfterErrorTime(err)); until < 5*time.Second || until > 7*time.Second {
			t.Errorf("%s: the delay is lost for commands: %v", reason, err)
		}
		if reasonOf(err) != reason {
			t.Errorf("%s became %s", reason, reasonOf(err))
		}
	}
	broken := explain(status.Error(codes.Unavailable, "connection refused"))
	if !fserrors.IsRetryError(broken) {
		t.Errorf("a broken connection is not tried again: %v", broken)
	}
	if full := explain(told(codes.ResourceExhausted, "SPOOL_FULL", 0)); !fserrors.IsNoLowLevelRetryError(full) {
		t.Errorf("what never fits is tried again: %v", full)
	}
	if left := explain(status.Error(codes.Canceled, "left")); !errors.Is(left, context.Canceled) {
		t.Errorf("%v", left)
	}
	item := &storage.Failure{Code: int32(codes.NotFound), Reason: "FILE_NOT_FOUND"}
	if explain(ofItem(item)) != fs.ErrorObjectNotFound || explain(ofItem(nil)) != nil {
		t.Error("failures of items are read otherwise than statuses")
	}
}

// Calls are repeated as long as that can help, as often as rclone is told to, and no longer.
func TestCallsAreRepeatedWhereThatHelps(t *testing.T) {
	ctx, config := fs.AddConfig(context.Background())
	config.LowLevelRetries = 3
	f := &Fs{}
	count := func(err error) (int, error) {
		tries := 0
		got := f.retry(ctx, func(try int) error {
			tries++
			if try != tries {
				t.Errorf("try %d is called %d", tries, try)
			}
			return err
		})
		return tries, got
	}
	if tries, err := count(nil); tries != 1 || err != nil {
		t.Errorf("%d tries, %v", tries, err)
	}
	if tries, _ := count(told(codes.Unavailable, "UPSTREAM_UNAVAILABLE", time.Millisecond)); tries != 3 {
		t.Errorf("%d tries of what can help", tries)
	}
	for _, useless := range []error{
		told(codes.NotFound, "FILE_NOT_FOUND", 0),
		told(codes.FailedPrecondition, "UPSTREAM_CREDENTIALS_REJECTED", 0),
		told(codes.Internal, "UPSTREAM_PROTOCOL", 0),
		// Too long to wait for: the whole command should come back then.
		told(codes.Unavailable, "UPSTREAM_LOCKED", time.Hour),
	} {
		if tries, _ := count(useless); tries != 1 {
			t.Errorf("%d tries after %v", tries, useless)
		}
	}
	ended, cancel := context.WithCancel(ctx)
	err := f.retry(ended, func(int) error {
		cancel()
		return told(codes.Unavailable, "UPSTREAM_LOCKED", time.Minute)
	})
	if err != context.Canceled {
		t.Errorf("a wait that is not wanted any more ends with %v", err)
	}
}

func TestAddressesAreThoseOfTheServersOwnClient(t *testing.T) {
	for address, want := range map[string]place{
		"localhost:50051":      {target: "dns:///localhost:50051", local: true},
		":50051":               {target: "dns:///127.0.0.1:50051", local: true},
		"[::1]:50051":          {target: "dns:///[::1]:50051", local: true},
		"host:50051":           {target: "dns:///host:50051"},
		"http://host:1":        {target: "dns:///host:1", explicit: true},
		"https://host:1":       {target: "dns:///host:1", explicit: true, encrypted: true},
		"https://host/":        {target: "dns:///host:443", explicit: true, encrypted: true},
		"unix:/run/grpc.sock":  {target: "unix:/run/grpc.sock", explicit: true, local: true},
		"unix:///run/grpc.soc": {target: "unix:/run/grpc.soc", explicit: true, local: true},
	} {
		if got, err := parseAddress(address); err != nil || got != want {
			t.Errorf("%s: %+v %v", address, got, err)
		}
	}
	for _, bad := range []string{"", "host", "host:port", "host:99999", "ftp://host:1", "unix:", "https://"} {
		if got, err := parseAddress(bad); err == nil {
			t.Errorf("%q is taken for %+v", bad, got)
		}
	}
}

// A token leaves this machine encrypted, or where that is asked for.
func TestATokenIsNotSentUnencryptedByChance(t *testing.T) {
	const secret = "the token itself"
	authority := filepath.Join(t.TempDir(), "ca.pem")
	server := httptest.NewTLSServer(nil)
	server.Close()
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(authority, block, 0o600); err != nil {
		t.Fatal(err)
	}
	try := func(opt Options) error {
		connection, err := dial(&opt)
		if err == nil {
			// Nothing was sent: it is opened with the first call.
			_ = connection.Close()
		}
		return err
	}
	token := obscure.MustObscure(secret)
	for _, address := range []string{"storage.example.org:50051", "192.0.2.1:50051", "[2001:db8::1]:50051", "0.0.0.0:50051", "localhost.example.org:1"} {
		err := try(Options{Address: address, Token: token})
		if !fserrors.IsFatalError(err) || !strings.Contains(err.Error(), "https://"+address) || !strings.Contains(err.Error(), " http://"+address) {
			t.Errorf("%s: %v", address, err)
		} else if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), token) {
			t.Errorf("the token is in an error: %v", err)
		}
		for _, allowed := range []Options{
			{Address: address},
			{Address: "http://" + address, Token: token},
			{Address: "https://" + address, Token: token},
			{Address: address, Token: token, CACert: authority},
		} {
			if err := try(allowed); err != nil {
				t.Errorf("%s, with an authority %t, with a token %t: %v", allowed.Address, allowed.CACert != "", allowed.Token != "", err)
			}
		}
	}
	for _, address := range []string{"localhost:1", "LOCALHOST:1", ":1", "127.0.0.1:1", "127.1.2.3:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "unix:/run/grpc.sock"} {
		if err := try(Options{Address: address, Token: token}); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// What is offered is what the remote says of itself.
func TestFeaturesAreThoseOfTheRemote(t *testing.T) {
	var all []storage.Capability
	for value := range storage.Capability_name {
		all = append(all, storage.Capability(value))
	}
	offered := func(info *storage.RemoteInfo, opt Options) map[string]bool {
		f := &Fs{info: info, opt: opt}
		return f.newFeatures(context.Background()).Enabled()
	}
	full := &storage.RemoteInfo{
		Capabilities: all,
		Traits:       &storage.Traits{DuplicateEntries: true, EmptyDirectories: true},
	}
	writing := []string{"Purge", "Copy", "Move", "DirMove", "PutUnchecked", "MergeDirs"}
	reading := []string{"ListR", "ListP", "About", "UserInfo", "PublicLink", "DirCacheFlush", "Shutdown"}
	got := offered(full, Options{})
	for _, name := range slices.Concat(writing, reading, []string{"DuplicateFiles", "CanHaveEmptyDirectories"}) {
		if !got[name] {
			t.Errorf("%s is not offered", name)
		}
	}
	for _, name := range []string{"PutStream", "CaseInsensitive", "PartialUploads"} {
		if got[name] {
			t.Errorf("%s is offered", name)
		}
	}
	if !offered(full, Options{PutStream: true})["PutStream"] {
		t.Error("PutStream is not offered when it is asked for")
	}
	readOnly := &storage.RemoteInfo{Capabilities: all, Traits: &storage.Traits{ReadOnly: true}}
	got = offered(readOnly, Options{PutStream: true})
	for _, name := range append(writing, "PutStream", "DuplicateFiles") {
		if got[name] {
			t.Errorf("%s is offered of what can only be read", name)
		}
	}
	got = offered(&storage.RemoteInfo{}, Options{})
	for _, name := range slices.Concat(writing, reading[:1], reading[2:6]) {
		if got[name] {
			t.Errorf("%s is offered of a remote that can do nothing", name)
		}
	}
}

func TestHashesThatOnlySomeFilesHaveAreOfferedOnRequest(t *testing.T) {
	info := &storage.RemoteInfo{
		StoredHashes:   []storage.HashAlgorithm{storage.HashAlgorithm_HASH_ALGORITHM_WHIRLPOOL},
		RecordedHashes: []storage.HashAlgorithm{storage.HashAlgorithm_HASH_ALGORITHM_MD5, storage.HashAlgorithm_HASH_ALGORITHM_SHA256},
	}
	if got := hashSet(info, false); got != hash.NewHashSet(hash.Whirlpool) {
		t.Errorf("%v", got)
	}
	if got := hashSet(info, true); got != hash.NewHashSet(hash.Whirlpool, hash.MD5, hash.SHA256) {
		t.Errorf("%v", got)
	}
	if got := checkType(info); got != hash.SHA256 {
		t.Errorf("uploads are checked by %v", got)
	}
	if got := checkType(&storage.RemoteInfo{StoredHashes: info.StoredHashes}); got != hash.Whirlpool {
		t.Errorf("uploads are checked by %v", got)
	}
}

// A request id belongs to an upload until its outcome is known.
func TestRequestIDsAreThoseOfTheTryBefore(t *testing.T) {
	known := newUploads()
	what := upload{path: "a", size: 1}
	one := known.take(what)
	if two := known.take(what); two == one {
		t.Error("two uploads at once have one id")
	}
	known.put(what, one)
	if other := known.take(upload{path: "a", size: 2}); other == one {
		t.Error("another upload has the id of this one")
	}
	if again := known.take(what); again != one {
		t.Error("another try has another id")
	}
	known.unknown[what] = attempt{one, time.Now().Add(-memory)}
	if late := known.take(what); late == one {
		t.Error("an id is used that the server may have forgotten")
	}
	for size := range int64(maxUploads + 5) {
		known.put(upload{size: size}, one)
	}
	if len(known.unknown) != maxUploads {
		t.Errorf("%d ids are remembered", len(known.unknown))
	}
}

// A source that breaks off is no end of the content.
func TestASourceThatBreaksOffIsNotAnEnd(t *testing.T) {
	buffer := make([]byte, 10)
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF} {
		count, err := fill(io.MultiReader(stringOf("12345"), failing{end}), buffer)
		if count != 5 || err != end {
			t.Errorf("%d bytes, %v in place of %v", count, err, end)
		}
	}
	if count, err := fill(stringOf("0123456789abc"), buffer); count != 10 || err != nil {
		t.Errorf("%d bytes, %v", count, err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func stringOf(text string) io.Reader { return &slow{text} }

// slow gives two bytes at a time.
type slow struct{ left string }

func (s *slow) Read(buffer []byte) (int, error) {
	if s.left == "" {
		return 0, io.EOF
	}
	count := copy(buffer[:min(2, len(buffer))], s.left)
	s.left = s.left[count:]
	return count, nil
}
