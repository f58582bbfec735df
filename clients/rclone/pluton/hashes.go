package pluton

import (
	"slices"

	"github.com/rclone/rclone/fs/hash"

	storage "pluton-fichier.example/rclone/gen/pluton/storage/v1"
)

// The checksums that rclone and the contract both know.
var algorithms = map[hash.Type]storage.HashAlgorithm{
	hash.Whirlpool: storage.HashAlgorithm_HASH_ALGORITHM_WHIRLPOOL,
	hash.SHA256:    storage.HashAlgorithm_HASH_ALGORITHM_SHA256,
	hash.MD5:       storage.HashAlgorithm_HASH_ALGORITHM_MD5,
	hash.SHA1:      storage.HashAlgorithm_HASH_ALGORITHM_SHA1,
	hash.BLAKE3:    storage.HashAlgorithm_HASH_ALGORITHM_BLAKE3,
}

// What an upload is checked by: the first of these that the server computes anyway.
var checks = []hash.Type{hash.SHA256, hash.MD5, hash.SHA1, hash.BLAKE3, hash.Whirlpool}

func known(all []storage.HashAlgorithm, kind hash.Type) bool {
	algorithm, found := algorithms[kind]
	return found && slices.Contains(all, algorithm)
}

// hashSet is what rclone compares files by. It takes the first type in an order of its own, and
// skips the comparison where a file lacks that type: so what only some files have is offered only
// if that is asked for.
func hashSet(info *storage.RemoteInfo, recorded bool) hash.Set {
	set := hash.NewHashSet()
	for kind := range algorithms {
		if known(info.StoredHashes, kind) || recorded && known(info.RecordedHashes, kind) {
			set.Add(kind)
		}
	}
	return set
}

// checkType is the type by which uploads are checked on their way.
func checkType(info *storage.RemoteInfo) hash.Type {
	for _, kind := range checks {
		if known(info.RecordedHashes, kind) || known(info.StoredHashes, kind) {
			return kind
		}
	}
	return hash.None
}

// sumOf is a checksum of an entry; nothing if the server does not know it.
func sumOf(entry *storage.Entry, kind hash.Type) string {
	for _, sum := range entry.Checksums {
		if algorithm, found := algorithms[kind]; found && sum.Algorithm == algorithm {
			return sum.Hex
		}
	}
	return ""
}
