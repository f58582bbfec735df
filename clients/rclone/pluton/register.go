// Package pluton is an rclone backend for servers that speak pluton.storage.v1.
package pluton

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/rclone/rclone/backend/overview"
	"github.com/rclone/rclone/fs"
	"github.com/rclone/rclone/fs/config/configmap"
	"github.com/rclone/rclone/fs/config/configstruct"
	"github.com/rclone/rclone/fs/fserrors"

	storage "pluton-fichier.example/rclone/gen/pluton/storage/v1"
)

func init() {
	fs.Register(&fs.RegInfo{
		Name:        "pluton",
		Description: "A pluton-fichier server (1Fichier)",
		NewFs:       NewFs,
		CommandHelp: commandHelp,
		// rclone has a table of its own backends, and misses others in it.
		Overview: &overview.BackendConfig{Backend: "pluton", Name: "Pluton", Remote: "TestPluton:", Hashes: []string{"whirlpool"}},
		Options: []fs.Option{{
			Name:    "address",
			Help:    "Where the server listens: host:port, http://host:port, https://host:port or unix:/path.\n\nA host:port is encrypted if ca_cert or client_cert is set. Otherwise a token is sent there only if it is on this machine: for others write http:// before it if the network between is trusted.",
			Default: "127.0.0.1:50051",
		}, {
			Name: "remote",
			Help: "Which of the server's remotes to use.\n\nLeave blank for its default.",
		}, {
			Name:       "token",
			Help:       "Access token, as `pluton-fichier token create` prints it.\n\nIt is not sent unencrypted to another machine, unless the address begins with http://.\n\nLeave blank if the server asks for none.",
			IsPassword: true,
			Sensitive:  true,
		}, {
			Name:     "ca_cert",
			Help:     "PEM file with the authorities that may vouch for the server.\n\nLeave blank for those of the system.",
			Advanced: true,
		}, {
			Name:     "client_cert",
			Help:     "PEM file with the certificate that this client shows.",
			Advanced: true,
		}, {
			Name:     "client_key",
			Help:     "PEM file with the key of client_cert.",
			Advanced: true,
		}, {
			Name:     "recorded_hashes",
			Help:     "Compare files by the checksums that the server records, too.\n\nFiles that were not stored through the server lack these, and rclone then compares their sizes only. They are always shown where they are known.",
			Default:  false,
			Advanced: true,
		}, {
			Name:     "put_stream",
			Help:     "Let content of unknown size stream through, in place of a temporary file here.\n\nrclone expects that streams may be empty, which 1Fichier cannot store: those fail.",
			Default:  false,
			Advanced: true,
		}},
	})
}

// Options of a remote.
type Options struct {
	Address        string `config:"address"`
	Remote         string `config:"remote"`
	Token          string `config:"token"`
	CACert         string `config:"ca_cert"`
	ClientCert     string `config:"client_cert"`
	ClientKey      string `config:"client_key"`
	RecordedHashes bool   `config:"recorded_hashes"`
	PutStream      bool   `config:"put_stream"`
}

// NewFs opens a directory of a remote. If the path is a file, it is its parent, with
// fs.ErrorIsFile.
func NewFs(ctx context.Context, name, root string, config configmap.Mapper) (fs.Fs, error) {
	var opt Options
	if err := configstruct.Set(config, &opt); err != nil {
		return nil, err
	}
	connection, err := dial(&opt)
	if err != nil {
		return nil, err
	}
	f := &Fs{
		name:       name,
		root:       strings.Trim(root, "/"),
		opt:        opt,
		connection: connection,
		client:     storage.NewStorageBackendClient(connection),
		uploads:    newUploads(),
	}
	if err := f.open(ctx); err != nil {
		_ = connection.Close()
		return nil, err
	}
	isFile, err := f.isFile(ctx)
	if err != nil {
		_ = connection.Close()
		return nil, err
	}
	f.features = f.newFeatures(ctx)
	if isFile {
		if f.root = path.Dir(f.root); f.root == "." {
			f.root = ""
		}
		return f, fs.ErrorIsFile
	}
	return f, nil
}

// open asks what the server is and can do.
func (f *Fs) open(ctx context.Context) error {
	var info *storage.GetInfoResponse
	err := f.retry(ctx, func(int) (err error) {
		info, err = f.client.GetInfo(ctx, &storage.GetInfoRequest{})
		return err
	})
	if err != nil {
		return fmt.Errorf("the server at %s cannot be used: %w", f.opt.Address, err)
	}
	var names []string
	for i, remote := range info.Remotes {
		if remote.Name == f.opt.Remote || f.opt.Remote == "" && i == 0 {
			f.info = remote
		}
		names = append(names, remote.Name)
	}
	if f.info == nil {
		err := fmt.Errorf("the server at %s has no remote %q for this token, but: %s", f.opt.Address, f.opt.Remote, strings.Join(names, ", "))
		return fserrors.FatalError(err)
	}
	f.hashes = hashSet(f.info, f.opt.RecordedHashes)
	f.check = checkType(f.info)
	return nil
}

// isFile tells whether the root is a file. Of a file and a directory with one path it is the
// directory, as everywhere in rclone.
func (f *Fs) isFile(ctx context.Context) (bool, error) {
	if f.root == "" {
		return false, nil
	}
	entry, err := f.stat(ctx, "")
	switch {
	case errors.Is(err, fs.ErrorObjectNotFound):
		return false, nil
	case err != nil:
		return false, err
	}
	return entry.Type == storage.EntryType_ENTRY_TYPE_FILE && entry.Attributes["directory"] == "", nil
}

func (f *Fs) can(capability storage.Capability) bool {
	for _, have := range f.info.Capabilities {
		if have == capability {
			return true
		}
	}
	return false
}

// newFeatures offers what the remote can do, and nothing else.
func (f *Fs) newFeatures(ctx context.Context) *fs.Features {
	traits := f.info.GetTraits()
	features := (&fs.Features{
		CaseInsensitive:         traits.GetCaseInsensitive(),
		DuplicateFiles:          traits.GetDuplicateEntries(),
		CanHaveEmptyDirectories: traits.GetEmptyDirectories(),
		ReadMimeType:            true,
	}).Fill(ctx, f)
	writable := !traits.GetReadOnly()
	for _, feature := range []struct {
		offered bool
		name    string
	}{
		{f.can(storage.Capability_CAPABILITY_PURGE) && writable, "Purge"},
		{f.can(storage.Capability_CAPABILITY_COPY) && writable, "Copy"},
		{f.can(storage.Capability_CAPABILITY_MOVE) && writable, "Move"},
		{f.can(storage.Capability_CAPABILITY_MOVE_DIR) && writable, "DirMove"},
		{f.can(storage.Capability_CAPABILITY_KEEP_BOTH) && writable, "PutUnchecked"},
		{f.can(storage.Capability_CAPABILITY_DEDUPE) && writable, "MergeDirs"},
		{f.can(storage.Capability_CAPABILITY_PUBLIC_LINK), "PublicLink"},
		{f.can(storage.Capability_CAPABILITY_PUT_UNKNOWN_SIZE) && writable && (f.opt.PutStream || traits.GetEmptyFiles()), "PutStream"},
		{f.can(storage.Capability_CAPABILITY_LIST_RECURSIVE), "ListR"},
		{f.can(storage.Capability_CAPABILITY_ABOUT), "About"},
		{f.can(storage.Capability_CAPABILITY_ABOUT), "UserInfo"},
		{f.can(storage.Capability_CAPABILITY_REFRESH), "DirCacheFlush"},
	} {
		if !feature.offered {
			features.Disable(feature.name)
		}
	}
	return features
}
