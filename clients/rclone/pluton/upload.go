package pluton

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
	"time"

	"github.com/rclone/rclone/fs"
	"github.com/rclone/rclone/fs/fserrors"
	"github.com/rclone/rclone/fs/hash"
	"github.com/rclone/rclone/lib/pacer"
	"google.golang.org/protobuf/proto"

	storage "pluton-fichier.example/rclone/gen/pluton/storage/v1"
)

const (
	chunkSize = 256 << 10
	// The server remembers outcomes for at least ten minutes.
	memory = 9 * time.Minute
	// More failed uploads than rclone has in work; beyond it the oldest are forgotten.
	maxUploads = 4096
)

// upload is what stays the same when rclone tries to store a file again: it opens the source anew
// and calls Put with the same facts.
type upload struct {
	path    string
	mode    storage.WriteMode
	size    int64
	modTime time.Time
}

// uploads remembers the request ids of uploads whose outcome is not known, so that another try
// gets the outcome of the first in place of storing the file twice. What happened to the file
// since is not part of that outcome, so it is looked at (see isThere).
type uploads struct {
	mu      sync.Mutex
	unknown map[upload]attempt
}

type attempt struct {
	id   string
	when time.Time
}

func newUploads() *uploads { return &uploads{unknown: map[upload]attempt{}} }

// take gives the id of the last try, or a new one. Nobody else gets it until it is put back.
func (u *uploads) take(what upload) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	last, found := u.unknown[what]
	delete(u.unknown, what)
	if found && time.Since(last.when) < memory {
		return last.id
	}
	return requestID()
}

func (u *uploads) put(what upload, id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for len(u.unknown) >= maxUploads {
		var oldest upload
		var when time.Time
		for other, attempt := range u.unknown {
			if when.IsZero() || attempt.when.Before(when) {
				oldest, when = other, attempt.when
			}
		}
		delete(u.unknown, oldest)
	}
	u.unknown[what] = attempt{id, time.Now()}
}

// Put stores a file in place of any with its path.
func (f *Fs) Put(ctx context.Context, in io.Reader, src fs.ObjectInfo, options ...fs.OpenOption) (fs.Object, error) {
	return f.put(ctx, in, src, storage.WriteMode_WRITE_MODE_REPLACE)
}

// PutUnchecked stores a file beside any with its path.
func (f *Fs) PutUnchecked(ctx context.Context, in io.Reader, src fs.ObjectInfo, options ...fs.OpenOption) (fs.Object, error) {
	return f.put(ctx, in, src, storage.WriteMode_WRITE_MODE_KEEP_BOTH)
}

// PutStream stores a file of unknown size in place of any with its path.
func (f *Fs) PutStream(ctx context.Context, in io.Reader, src fs.ObjectInfo, options ...fs.OpenOption) (fs.Object, error) {
	return f.Put(ctx, in, src, options...)
}

func (f *Fs) put(ctx context.Context, in io.Reader, src fs.ObjectInfo, mode storage.WriteMode) (fs.Object, error) {
	entry, err := f.upload(ctx, in, src, src.Remote(), mode)
	if err != nil {
		// Not a nil *Object: an interface that holds one is not nil.
		return nil, err
	}
	return f.object(src.Remote(), entry), nil
}

// upload stores a file. It is not repeated here, since its content passes once: rclone does that.
func (f *Fs) upload(ctx context.Context, in io.Reader, src fs.ObjectInfo, remote string, mode storage.WriteMode) (*storage.Entry, error) {
	size := src.Size()
	switch {
	case size == 0 && !f.info.GetTraits().GetEmptyFiles():
		return nil, fs.ErrorCantUploadEmptyFiles
	case size < 0 && !f.can(storage.Capability_CAPABILITY_PUT_UNKNOWN_SIZE):
		return nil, fserrors.NoRetryError(errors.New("this server stores only content of known size"))
	}
	what := upload{f.absolute(remote), mode, size, src.ModTime(ctx)}
	header := &storage.PutHeader{
		Remote:      f.opt.Remote,
		Path:        what.path,
		WriteMode:   mode,
		ContentType: fs.MimeType(ctx, src),
	}
	if f.can(storage.Capability_CAPABILITY_REQUEST_ID) {
		header.RequestId = f.uploads.take(what)
	}
	if size >= 0 {
		header.Size = proto.Int64(size)
	}
	entry, err := f.send(ctx, in, header, remote)
	if err != nil && header.RequestId != "" && mayBeStored(err) {
		f.uploads.put(what, header.RequestId)
	}
	return entry, err
}

// staleOutcome says that the outcome of an earlier try holds no longer. Another try can succeed,
// but only under a new request id: under the same one it is told the same.
type staleOutcome struct{ message string }

func (e *staleOutcome) Error() string { return e.message }

// Retry tells rclone to try again.
func (e *staleOutcome) Retry() bool { return true }

// mayBeStored tells whether an upload that failed may yet have stored its file.
func mayBeStored(err error) bool {
	var stale *staleOutcome
	if errors.As(err, &stale) {
		return false
	}
	_, later := pacer.IsRetryAfter(err)
	return later || fserrors.IsRetryError(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// send sends the content, and says at its end what it was: nothing else is stored.
func (f *Fs) send(ctx context.Context, in io.Reader, header *storage.PutHeader, remote string) (*storage.Entry, error) {
	// Whatever ends this early ends the stream without its commit.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	hasher, err := hash.NewMultiHasherTypes(hash.NewHashSet(f.check))
	if err != nil {
		return nil, err
	}
	stream, err := f.client.Put(ctx)
	if err != nil {
		return nil, explain(err)
	}
	content := io.TeeReader(in, hasher)
	sent, err := f.sendContent(stream, content, header)
	if err == nil {
		commit := &storage.PutCommit{Size: sent}
		if sum := hasher.Sums()[f.check]; sum != "" {
			commit.Checksums = []*storage.Checksum{{Algorithm: algorithms[f.check], Hex: sum}}
		}
		err = stream.Send(&storage.PutRequest{Payload: &storage.PutRequest_Commit{Commit: commit}})
	}
	if err != nil && err != io.EOF {
		return nil, err
	}
	// io.EOF: the server has ended the call early, and says why.
	answer, err := stream.CloseAndRecv()
	if err != nil {
		var told *failure
		if errors.As(asFailure(err), &told) && told.reason == "REQUEST_ID_REUSED" {
			return nil, &staleOutcome{fmt.Sprintf("%s was stored by an earlier try with another content; it is stored anew", remote)}
		}
		return nil, explain(err)
	}
	if answer.Replayed {
		// The outcome of an earlier try. The source may have changed since.
		if _, err := io.Copy(io.Discard, content); err != nil {
			return nil, err
		}
		if stored := sumOf(answer.Entry, f.check); stored != "" && stored != hasher.Sums()[f.check] {
			return nil, &staleOutcome{fmt.Sprintf("%s was stored by an earlier try, and has changed since; it is stored anew", remote)}
		}
		there, err := f.isThere(ctx, remote, answer.Entry.GetEtag(), header.WriteMode)
		if err != nil {
			return nil, err
		}
		if !there {
			return nil, &staleOutcome{fmt.Sprintf("%s was stored by an earlier try, and removed or replaced since; it is stored anew", remote)}
		}
	}
	return answer.Entry, nil
}

// isThere tells whether a path still holds the file with this etag: the newest of the path, or any
// of them where files are stored beside each other.
func (f *Fs) isThere(ctx context.Context, remote, etag string, mode storage.WriteMode) (bool, error) {
	entry, err := f.stat(ctx, remote)
	switch {
	case errors.Is(err, fs.ErrorObjectNotFound):
		return false, nil
	case err != nil:
		return false, err
	case entry.GetEtag() == etag:
		return true, nil
	case mode != storage.WriteMode_WRITE_MODE_KEEP_BOTH:
		return false, nil
	}
	there := false
	err = f.list(ctx, parentOf(remote), false, func(entries fs.DirEntries) error {
		for _, entry := range entries {
			o, ok := entry.(*Object)
			there = there || ok && o.now().Etag == etag && f.absolute(o.remote) == f.absolute(remote)
		}
		return nil
	})
	if err == fs.ErrorDirNotFound {
		return false, nil
	}
	return there, err
}

// sendContent sends the header and all chunks. io.EOF means that the server has ended the call.
func (f *Fs) sendContent(stream interface {
	Send(*storage.PutRequest) error
}, in io.Reader, header *storage.PutHeader) (sent int64, err error) {
	err = stream.Send(&storage.PutRequest{Payload: &storage.PutRequest_Header{Header: header}})
	if err != nil {
		return 0, err
	}
	buffer := make([]byte, chunkSize)
	for {
		count, err := fill(in, buffer)
		if count > 0 {
			chunk := &storage.Chunk{
				Offset: sent,
				Data:   buffer[:count],
				Crc32C: proto.Uint32(crc32.Checksum(buffer[:count], castagnoli)),
			}
			if err := stream.Send(&storage.PutRequest{Payload: &storage.PutRequest_Chunk{Chunk: chunk}}); err != nil {
				return sent, err
			}
			sent += int64(count)
		}
		switch {
		case err == io.EOF:
			return sent, nil
		case err != nil:
			return sent, fmt.Errorf("reading the source: %w", err)
		}
	}
}

// fill reads until the buffer is full or the content ends. io.ReadFull would not tell an end from
// a source that broke off with io.ErrUnexpectedEOF.
func fill(in io.Reader, buffer []byte) (count int, err error) {
	for count < len(buffer) && err == nil {
		var more int
		more, err = in.Read(buffer[count:])
		count += more
	}
	return count, err
}
