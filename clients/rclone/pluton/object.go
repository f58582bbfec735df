package pluton

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/rclone/rclone/fs"
	"github.com/rclone/rclone/fs/hash"
	"google.golang.org/protobuf/types/known/timestamppb"

	storage "pluton-fichier.example/rclone/gen/pluton/storage/v1"
)

// Object is a file. Of several with one path it stays the one that was listed.
type Object struct {
	fs     *Fs
	remote string
	mu     sync.Mutex
	entry  *storage.Entry
}

func (f *Fs) object(remote string, entry *storage.Entry) *Object {
	return &Object{fs: f, remote: remote, entry: entry}
}

// timeOf gives a moment where one is known. Without one a file is as old as can be: it must not
// look newer than anything.
func timeOf(moment *timestamppb.Timestamp) time.Time {
	return moment.AsTime()
}

func (f *Fs) directory(entry *storage.Entry) fs.Directory {
	return fs.NewDir(f.relative(entry.Path), timeOf(entry.ModifyTime)).SetID(entry.Id)
}

// now is what is known of the file.
func (o *Object) now() *storage.Entry {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.entry
}

// Fs that it belongs to.
func (o *Object) Fs() fs.Info { return o.fs }

// Remote is its path.
func (o *Object) Remote() string { return o.remote }

// String is its path.
func (o *Object) String() string {
	if o == nil {
		return "<nil>"
	}
	return o.remote
}

// Size in bytes.
func (o *Object) Size() int64 { return o.now().GetSize() }

// ModTime is when it was uploaded.
func (o *Object) ModTime(context.Context) time.Time { return timeOf(o.now().ModifyTime) }

// SetModTime is not possible.
func (o *Object) SetModTime(context.Context, time.Time) error { return fs.ErrorCantSetModTime }

// Storable says that it can be stored elsewhere.
func (o *Object) Storable() bool { return true }

// MimeType as 1Fichier derived it. Of a file that was stored or moved just now the server learns it
// with the next listing; until then it is what rclone makes of the name.
func (o *Object) MimeType(context.Context) string {
	if known := o.now().ContentType; known != "" {
		return known
	}
	return fs.MimeTypeFromName(o.remote)
}

// ID is its download URL.
func (o *Object) ID() string { return o.now().Id }

// Hash gives a checksum that is known at no cost; nothing where this one is not.
func (o *Object) Hash(_ context.Context, kind hash.Type) (string, error) {
	if sum := sumOf(o.now(), kind); sum != "" {
		return sum, nil
	}
	if !o.fs.hashes.Contains(kind) && !known(o.fs.info.RecordedHashes, kind) {
		return "", hash.ErrUnsupported
	}
	return "", nil
}

// Remove this file, and no other with its path.
func (o *Object) Remove(ctx context.Context) error {
	request := &storage.DeleteRequest{
		Remote:  o.fs.opt.Remote,
		Targets: []*storage.DeleteTarget{{Path: o.fs.absolute(o.remote), IfMatchEtag: o.now().Etag}},
	}
	return o.fs.retry(ctx, func(try int) error {
		// An earlier try may have done it.
		request.AllowMissing = try > 1
		answer, err := o.fs.client.Delete(ctx, request)
		if err != nil {
			return err
		}
		if len(answer.Results) != 1 {
			return fmt.Errorf("the server told of %d files in place of one", len(answer.Results))
		}
		return ofItem(answer.Results[0].Failure)
	})
}

// Update replaces the content.
func (o *Object) Update(ctx context.Context, in io.Reader, src fs.ObjectInfo, options ...fs.OpenOption) error {
	entry, err := o.fs.upload(ctx, in, src, o.remote, storage.WriteMode_WRITE_MODE_REPLACE)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.entry = entry
	return nil
}

// Check that all that the contract can carry is there.
var (
	_ fs.Fs              = (*Fs)(nil)
	_ fs.ListPer         = (*Fs)(nil)
	_ fs.ListRer         = (*Fs)(nil)
	_ fs.PutStreamer     = (*Fs)(nil)
	_ fs.PutUncheckeder  = (*Fs)(nil)
	_ fs.Purger          = (*Fs)(nil)
	_ fs.Copier          = (*Fs)(nil)
	_ fs.Mover           = (*Fs)(nil)
	_ fs.DirMover        = (*Fs)(nil)
	_ fs.MergeDirser     = (*Fs)(nil)
	_ fs.PublicLinker    = (*Fs)(nil)
	_ fs.Abouter         = (*Fs)(nil)
	_ fs.UserInfoer      = (*Fs)(nil)
	_ fs.DirCacheFlusher = (*Fs)(nil)
	_ fs.Commander       = (*Fs)(nil)
	_ fs.Shutdowner      = (*Fs)(nil)
	_ fs.Object          = (*Object)(nil)
	_ fs.MimeTyper       = (*Object)(nil)
	_ fs.IDer            = (*Object)(nil)
)
