package pluton

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/rclone/rclone/fs"

	storage "pluton-fichier.example/rclone/gen/pluton/storage/v1"
)

// sameRemote tells whether another Fs shows the same remote of the same server.
func (f *Fs) sameRemote(other *Fs) bool {
	return f.opt.Address == other.opt.Address && f.info.Name == other.info.Name
}

// Copy a file within the remote.
func (f *Fs) Copy(ctx context.Context, src fs.Object, remote string) (fs.Object, error) {
	source, ok := src.(*Object)
	if !ok || !f.sameRemote(source.fs) {
		fs.Debugf(src, "Can't copy: not the same remote")
		return nil, fs.ErrorCantCopy
	}
	request := &storage.CopyRequest{
		Remote:          f.opt.Remote,
		SourcePath:      source.fs.absolute(source.remote),
		DestinationPath: f.absolute(remote),
		IfMatchEtag:     source.now().Etag,
		RequestId:       requestID(),
	}
	var answer *storage.CopyResponse
	err := f.retry(ctx, func(int) (err error) {
		answer, err = f.client.Copy(ctx, request)
		return err
	})
	if reasonOf(err) == "CAPABILITY_MISSING" {
		return nil, fs.ErrorCantCopy
	} else if err != nil {
		return nil, err
	}
	return f.object(remote, answer.Entry), nil
}

// Move a file within the remote.
func (f *Fs) Move(ctx context.Context, src fs.Object, remote string) (fs.Object, error) {
	source, ok := src.(*Object)
	if !ok || !f.sameRemote(source.fs) {
		fs.Debugf(src, "Can't move: not the same remote")
		return nil, fs.ErrorCantMove
	}
	request := &storage.MoveRequest{
		Remote:          f.opt.Remote,
		SourcePath:      source.fs.absolute(source.remote),
		DestinationPath: f.absolute(remote),
		IfMatchEtag:     source.now().Etag,
		RequestId:       requestID(),
	}
	var answer *storage.MoveResponse
	err := f.retry(ctx, func(int) (err error) {
		answer, err = f.client.Move(ctx, request)
		return err
	})
	if reasonOf(err) == "CAPABILITY_MISSING" {
		return nil, fs.ErrorCantMove
	} else if err != nil {
		return nil, err
	}
	return f.object(remote, answer.Entry), nil
}

// DirMove moves a directory within the remote.
func (f *Fs) DirMove(ctx context.Context, src fs.Fs, srcRemote, dstRemote string) error {
	source, ok := src.(*Fs)
	if !ok || !f.sameRemote(source) {
		fs.Debugf(src, "Can't move directory: not the same remote")
		return fs.ErrorCantDirMove
	}
	from, to := source.absolute(srcRemote), f.absolute(dstRemote)
	if from == to || to == "" {
		return fs.ErrorDirExists
	}
	if from == "" {
		// The root of the account is no directory that could have another name.
		return fs.ErrorCantDirMove
	}
	request := &storage.MoveDirRequest{
		Remote:          f.opt.Remote,
		SourcePath:      from,
		DestinationPath: to,
		RequestId:       requestID(),
	}
	err := f.retry(ctx, func(int) error {
		_, err := f.client.MoveDir(ctx, request)
		return err
	})
	switch reasonOf(err) {
	case "ENTRY_EXISTS":
		return fs.ErrorDirExists
	case "CAPABILITY_MISSING", "AMBIGUOUS_PATH":
		// File by file it is possible.
		return fs.ErrorCantDirMove
	}
	if err == fs.ErrorObjectNotFound {
		return fs.ErrorDirNotFound
	}
	return err
}

// PublicLink gives the public URL of a file or directory, or takes that of a directory away.
func (f *Fs) PublicLink(ctx context.Context, remote string, expire fs.Duration, unlink bool) (string, error) {
	if expire.IsSet() && !unlink {
		fs.Logf(f, "1Fichier's links do not expire: the link of %q stays until it is taken away", remote)
	}
	var answer *storage.PublicLinkResponse
	err := f.retry(ctx, func(int) (err error) {
		answer, err = f.client.PublicLink(ctx, &storage.PublicLinkRequest{
			Remote: f.opt.Remote,
			Path:   f.absolute(remote),
			Revoke: unlink,
		})
		return err
	})
	return answer.GetUrl(), err
}

func (f *Fs) about(ctx context.Context) (*storage.AboutResponse, error) {
	var answer *storage.AboutResponse
	err := f.retry(ctx, func(int) (err error) {
		answer, err = f.client.About(ctx, &storage.AboutRequest{Remote: f.opt.Remote})
		return err
	})
	return answer, err
}

// About tells how much is stored and how much fits.
func (f *Fs) About(ctx context.Context) (*fs.Usage, error) {
	answer, err := f.about(ctx)
	if err != nil {
		return nil, err
	}
	return &fs.Usage{Total: answer.TotalBytes, Used: answer.UsedBytes, Free: answer.FreeBytes}, nil
}

// UserInfo tells facts about the account.
func (f *Fs) UserInfo(ctx context.Context) (map[string]string, error) {
	answer, err := f.about(ctx)
	if err != nil {
		return nil, err
	}
	facts := maps.Clone(answer.Account)
	if facts == nil {
		facts = map[string]string{}
	}
	facts["as_of"] = answer.AsOfTime.AsTime().Format(time.RFC3339)
	return facts, nil
}

var commandHelp = []fs.CommandHelp{{
	Name:  "refresh",
	Short: "Look anew: another program changed the account.",
	Long: `Makes the server forget what it remembers of the directory and all below it.

    rclone backend refresh remote:path

With -o reload it lists all of it again at once.`,
	Opts: map[string]string{"reload": "List again now instead of at the next use."},
}}

// Command runs one of the commands of this backend.
func (f *Fs) Command(ctx context.Context, name string, args []string, opt map[string]string) (any, error) {
	if name != "refresh" {
		return nil, fs.ErrorCommandNotFound
	}
	if len(args) > 0 {
		return nil, fmt.Errorf("refresh takes no arguments but remote:path")
	}
	_, reload := opt["reload"]
	return nil, f.refresh(ctx, "", reload)
}
