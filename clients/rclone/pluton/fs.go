package pluton

import (
	"context"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/rclone/rclone/fs"
	"github.com/rclone/rclone/fs/hash"
	"github.com/rclone/rclone/fs/list"
	"github.com/rclone/rclone/lib/encoder"
	"github.com/rclone/rclone/lib/random"
	"google.golang.org/grpc"

	storage "pluton-fichier.example/rclone/gen/pluton/storage/v1"
)

// The form of names in the contract: rclone's own, but for bytes that are not UTF-8.
const wire = encoder.Standard | encoder.EncodeInvalidUtf8

// Fs is a directory of a remote of a server.
type Fs struct {
	name       string
	root       string
	opt        Options
	features   *fs.Features
	hashes     hash.Set
	check      hash.Type
	connection *grpc.ClientConn
	client     storage.StorageBackendClient
	info       *storage.RemoteInfo
	uploads    *uploads
}

// Name of the remote, as configured.
func (f *Fs) Name() string { return f.name }

// Root of the remote.
func (f *Fs) Root() string { return f.root }

// String describes it.
func (f *Fs) String() string {
	return fmt.Sprintf("%s of %s, path %q", f.info.GetName(), f.opt.Address, f.root)
}

// Precision of times: those of uploads cannot be set.
func (f *Fs) Precision() time.Duration { return fs.ModTimeNotSupported }

// Hashes that files are compared by.
func (f *Fs) Hashes() hash.Set { return f.hashes }

// Features of this remote.
func (f *Fs) Features() *fs.Features { return f.features }

// absolute is the path of a file or directory in the server's remote.
func (f *Fs) absolute(remote string) string {
	return wire.FromStandardPath(path.Join(f.root, remote))
}

// relative is what rclone calls the file or directory at a path of the server's remote.
func (f *Fs) relative(absolute string) string {
	found := wire.ToStandardPath(absolute)
	if f.root == "" {
		return found
	}
	return strings.TrimPrefix(strings.TrimPrefix(found, wire.ToStandardPath(wire.FromStandardPath(f.root))), "/")
}

// parentOf is the directory of a file or directory.
func parentOf(name string) string {
	if parent := path.Dir(name); parent != "." {
		return parent
	}
	return ""
}

// requestID is new for each operation, and the same for all its tries.
func requestID() string { return "rclone-" + random.String(24) }

// stat describes a file or directory. fs.ErrorObjectNotFound also if its directory is missing.
func (f *Fs) stat(ctx context.Context, remote string) (*storage.Entry, error) {
	var answer *storage.StatResponse
	err := f.retry(ctx, func(int) (err error) {
		answer, err = f.client.Stat(ctx, &storage.StatRequest{Remote: f.opt.Remote, Path: f.absolute(remote)})
		return err
	})
	if err == fs.ErrorDirNotFound || err == fs.ErrorIsFile {
		return nil, fs.ErrorObjectNotFound
	}
	return answer.GetEntry(), err
}

// List a directory.
func (f *Fs) List(ctx context.Context, dir string) (fs.DirEntries, error) {
	return list.WithListP(ctx, dir, f)
}

// ListP lists a directory page by page.
func (f *Fs) ListP(ctx context.Context, dir string, callback fs.ListRCallback) error {
	return f.list(ctx, dir, false, callback)
}

// ListR lists a directory and all below it, page by page.
func (f *Fs) ListR(ctx context.Context, dir string, callback fs.ListRCallback) error {
	return f.list(ctx, dir, true, callback)
}

func (f *Fs) list(ctx context.Context, dir string, recursive bool, callback fs.ListRCallback) error {
	request := &storage.ListRequest{
		Remote:    f.opt.Remote,
		Path:      f.absolute(dir),
		Recursive: recursive,
		// rclone knows files by their ids, and has a command that tells equal names apart.
		EveryDuplicate: true,
	}
	var stopped, incomplete error
	last := ""
	err := f.retry(ctx, func(int) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := f.client.List(ctx, request)
		if err != nil {
			return err
		}
		for {
			page, err := stream.Recv()
			if err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
			for _, failed := range page.Failures {
				// What was removed meanwhile is not missing.
				if err := explain(ofItem(failed.Failure)); err != fs.ErrorDirNotFound && incomplete == nil {
					incomplete = fmt.Errorf("%s: %w", f.relative(failed.Path), err)
				}
			}
			entries := make(fs.DirEntries, 0, len(page.Entries))
			for _, entry := range page.Entries {
				if entry.Type != storage.EntryType_ENTRY_TYPE_DIRECTORY {
					entries = append(entries, f.object(f.relative(entry.Path), entry))
				} else if recursive || entry.Path != last {
					// Directories with one path are told apart where all are seen at once, so that
					// they can be merged. A walk would read each of them, and find the same twice.
					last = entry.Path
					entries = append(entries, f.directory(entry))
				}
			}
			if stopped = callback(entries); stopped != nil || page.NextPageToken == "" {
				return nil
			}
			// Should the stream break, it is taken up again here.
			request.PageToken = page.NextPageToken
		}
	})
	return first(err, stopped, incomplete)
}

// NewObject finds a file.
func (f *Fs) NewObject(ctx context.Context, remote string) (fs.Object, error) {
	entry, err := f.stat(ctx, remote)
	if err != nil {
		return nil, err
	}
	if entry.Type == storage.EntryType_ENTRY_TYPE_DIRECTORY {
		return nil, fs.ErrorIsDir
	}
	return f.object(remote, entry), nil
}

// Mkdir makes a directory and its parents.
func (f *Fs) Mkdir(ctx context.Context, dir string) error {
	if f.absolute(dir) == "" {
		return nil
	}
	return f.retry(ctx, func(int) error {
		_, err := f.client.Mkdir(ctx, &storage.MkdirRequest{Remote: f.opt.Remote, Path: f.absolute(dir)})
		return err
	})
}

// Rmdir removes an empty directory.
func (f *Fs) Rmdir(ctx context.Context, dir string) error {
	return f.retry(ctx, func(try int) error {
		_, err := f.client.Rmdir(ctx, &storage.RmdirRequest{
			Remote: f.opt.Remote,
			Path:   f.absolute(dir),
			// An earlier try may have done it.
			AllowMissing: try > 1,
		})
		return err
	})
}

// Purge removes a directory with all that is in it.
func (f *Fs) Purge(ctx context.Context, dir string) error {
	var failed error
	err := f.retry(ctx, func(try int) error {
		failed = nil
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := f.client.Purge(ctx, &storage.PurgeRequest{
			Remote:       f.opt.Remote,
			Path:         f.absolute(dir),
			AllowMissing: try > 1,
			AllowRoot:    true,
		})
		if err != nil {
			return err
		}
		for {
			progress, err := stream.Recv()
			if err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
			for _, one := range progress.Failures {
				err := explain(ofItem(one.Failure))
				fs.Errorf(f, "Could not remove %s: %v", f.relative(one.Path), err)
				failed = err
			}
		}
	})
	return first(err, failed)
}

// MergeDirs makes one of directories that share a path.
func (f *Fs) MergeDirs(ctx context.Context, dirs []fs.Directory) error {
	if len(dirs) < 2 {
		return nil
	}
	for _, dir := range dirs[1:] {
		if dir.Remote() != dirs[0].Remote() {
			return fmt.Errorf("can't merge %q and %q: only directories with one path can be merged", dirs[0].Remote(), dir.Remote())
		}
	}
	parent := parentOf(f.absolute(dirs[0].Remote()))
	var failed error
	err := f.retry(ctx, func(int) error {
		failed = nil
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := f.client.Dedupe(ctx, &storage.DedupeRequest{
			Remote: f.opt.Remote,
			Path:   parent,
			Mode:   storage.DedupeMode_DEDUPE_MODE_DIRECTORIES,
		})
		if err != nil {
			return err
		}
		for {
			group, err := stream.Recv()
			if err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
			for _, one := range group.Failures {
				failed = fmt.Errorf("%s: %w", f.relative(one.Path), explain(ofItem(one.Failure)))
				fs.Errorf(f, "Could not merge %v", failed)
			}
		}
	})
	return first(err, failed)
}

// DirCacheFlush makes the server forget what it remembers of this directory.
func (f *Fs) DirCacheFlush() {
	if err := f.refresh(context.Background(), "", false); err != nil {
		fs.Errorf(f, "Could not flush what the server remembers: %v", err)
	}
}

func (f *Fs) refresh(ctx context.Context, dir string, reload bool) error {
	err := f.retry(ctx, func(int) error {
		_, err := f.client.Refresh(ctx, &storage.RefreshRequest{
			Remote:    f.opt.Remote,
			Path:      f.absolute(dir),
			Recursive: true,
			Reload:    reload,
		})
		return err
	})
	if err == fs.ErrorDirNotFound {
		// Nothing is remembered of it.
		return nil
	}
	return err
}

// Shutdown closes the connection.
func (f *Fs) Shutdown(context.Context) error {
	err := f.connection.Close()
	if err == grpc.ErrClientConnClosing { //nolint:staticcheck // the only value that Close gives
		return nil
	}
	return err
}

// first is the first of errors that is one. Joined, those that rclone compares by identity would
// not be found.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
