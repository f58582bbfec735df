package pluton

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/rclone/rclone/fs"
	"google.golang.org/protobuf/proto"

	storage "pluton-fichier.example/rclone/gen/pluton/storage/v1"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Open reads the file or a part of it. A whole file is compared with its checksum by the server,
// and damage is an error at its end.
func (o *Object) Open(ctx context.Context, options ...fs.OpenOption) (io.ReadCloser, error) {
	entry := o.now()
	size := entry.GetSize()
	fs.FixRangeOption(options, size)
	offset, limit := int64(0), int64(-1)
	for _, option := range options {
		switch option := option.(type) {
		case *fs.SeekOption:
			offset = option.Offset
		case *fs.RangeOption:
			offset, limit = option.Decode(size)
		default:
			if option.Mandatory() {
				fs.Logf(o, "Unsupported mandatory option: %v", option)
			}
		}
	}
	request := &storage.GetRequest{
		Remote:      o.fs.opt.Remote,
		Path:        o.fs.absolute(o.remote),
		IfMatchEtag: entry.Etag,
	}
	if offset > 0 || limit >= 0 {
		if limit == 0 || offset == size {
			return io.NopCloser(eof{}), nil
		}
		part := &storage.ByteRange{Offset: offset}
		if limit > 0 {
			part.Length = proto.Int64(limit)
		}
		request.Ranges = []*storage.ByteRange{part}
	}
	var opened *reader
	err := o.fs.retry(ctx, func(int) error {
		ctx, cancel := context.WithCancel(ctx)
		stream, err := o.fs.client.Get(ctx, request)
		if err == nil {
			// The header comes when there is something to read.
			_, err = stream.Recv()
		}
		if err != nil {
			cancel()
			return err
		}
		opened = &reader{stream: stream, cancel: cancel, offset: offset}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return opened, nil
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// reader gives the content as it comes.
type reader struct {
	stream interface {
		Recv() (*storage.GetResponse, error)
	}
	cancel context.CancelFunc
	offset int64
	left   []byte
	whole  bool
	err    error
}

func (r *reader) Read(buffer []byte) (int, error) {
	for len(r.left) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.left, r.err = r.next()
	}
	count := copy(buffer, r.left)
	r.left = r.left[count:]
	return count, nil
}

// next is the next piece. The content is complete only with the trailer.
func (r *reader) next() ([]byte, error) {
	message, err := r.stream.Recv()
	switch {
	case err == io.EOF && r.whole:
		return nil, io.EOF
	case err == io.EOF:
		return nil, io.ErrUnexpectedEOF
	case err != nil:
		return nil, explain(err)
	}
	if message.GetTrailer() != nil {
		r.whole = true
		return nil, nil
	}
	chunk := message.GetChunk()
	if chunk == nil {
		return nil, nil
	}
	if chunk.Offset != r.offset {
		return nil, fmt.Errorf("the server sent byte %d in place of %d", chunk.Offset, r.offset)
	}
	if chunk.Crc32C != nil && crc32.Checksum(chunk.Data, castagnoli) != *chunk.Crc32C {
		return nil, errors.New("content was damaged on its way from the server")
	}
	r.offset += int64(len(chunk.Data))
	return chunk.Data, nil
}

// Close ends the read, also before its end.
func (r *reader) Close() error {
	r.cancel()
	return nil
}
