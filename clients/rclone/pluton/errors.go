package pluton

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rclone/rclone/fs"
	"github.com/rclone/rclone/fs/fserrors"
	"github.com/rclone/rclone/lib/pacer"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	storage "pluton-fichier.example/rclone/gen/pluton/storage/v1"
)

const (
	domain = "storage.pluton"
	// Whoever is told to wait longer should come back with the whole command.
	maxWait = 2 * time.Minute
	// Between repeats of which the server says nothing: while it cannot be reached.
	minBackoff = 100 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// failure is what the server says about a call, or one of its items, that failed.
type failure struct {
	code    codes.Code
	reason  string
	message string
	// How long to wait before a repeat, which can succeed if this is there.
	delay *time.Duration
}

func (e *failure) Error() string {
	if e.reason == "" {
		return fmt.Sprintf("%v: %s", e.code, e.message)
	}
	return fmt.Sprintf("%s (%s)", e.message, e.reason)
}

// RetryAfter tells the commands of rclone when a repeat can succeed.
func (e *failure) RetryAfter() time.Time {
	if e.delay == nil {
		return time.Time{}
	}
	return time.Now().Add(*e.delay)
}

// asFailure reads the details of a status. It gives other errors back as they are.
func asFailure(err error) error {
	answer, ok := status.FromError(err)
	if !ok || answer.Code() == codes.OK {
		return err
	}
	result := &failure{code: answer.Code(), message: answer.Message()}
	for _, detail := range answer.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.Domain == domain {
				result.reason = detail.Reason
			}
		case *errdetails.RetryInfo:
			delay := detail.RetryDelay.AsDuration()
			result.delay = &delay
		}
	}
	return result
}

// ofItem is the failure of one item of an answer; nil if it did not fail.
func ofItem(item *storage.Failure) error {
	if item == nil {
		return nil
	}
	result := &failure{code: codes.Code(item.Code), reason: item.Reason, message: item.Message}
	if item.RetryDelay != nil {
		delay := item.RetryDelay.AsDuration()
		result.delay = &delay
	}
	return result
}

// reasonOf is the reason of an error that the server told, else nothing.
func reasonOf(err error) string {
	var known *failure
	if errors.As(err, &known) {
		return known.reason
	}
	return ""
}

// Sentinels that rclone compares by identity, so they must stand alone.
var sentinels = map[string]error{
	"FILE_NOT_FOUND":      fs.ErrorObjectNotFound,
	"DIRECTORY_NOT_FOUND": fs.ErrorDirNotFound,
	"IS_A_DIRECTORY":      fs.ErrorIsDir,
	"NOT_A_DIRECTORY":     fs.ErrorIsFile,
	"DIRECTORY_NOT_EMPTY": fs.ErrorDirectoryNotEmpty,
	"EMPTY_FILE":          fs.ErrorCantUploadEmptyFiles,
}

// explain turns what a call returned into what rclone goes by.
func explain(err error) error {
	if err == nil {
		return nil
	}
	err = asFailure(err)
	var told *failure
	if !errors.As(err, &told) {
		return err
	}
	if sentinel, found := sentinels[told.reason]; found {
		return sentinel
	}
	switch told.reason {
	case "UPSTREAM_CREDENTIALS_REJECTED", "TOKEN_INVALID", "REMOTE_NOT_FOUND":
		// Nothing that follows can succeed, and refusals that are repeated lead to a ban.
		return fserrors.FatalError(told)
	case "READ_ONLY", "PREFIX_FORBIDDEN", "UPSTREAM_ACCESS_DENIED":
		return fserrors.NoRetryError(fmt.Errorf("%w: %w", fs.ErrorPermissionDenied, told))
	case "CAPABILITY_MISSING":
		return fserrors.NoRetryError(fmt.Errorf("%w: %w", fs.ErrorNotImplemented, told))
	case "INVALID_PATH", "INVALID_FIELD", "FILE_TOO_LARGE", "STORAGE_QUOTA_EXCEEDED",
		"UPSTREAM_PLAN_REQUIRED", "AMBIGUOUS_PATH":
		return fserrors.NoRetryError(told)
	}
	switch {
	case told.delay != nil:
		return pacer.RetryAfterError(told, *told.delay)
	case told.code == codes.Unavailable:
		// Without a delay it is not the server's word: the connection failed.
		return fserrors.RetryError(told)
	case told.code == codes.Canceled:
		return fmt.Errorf("%w: %s", context.Canceled, told.message)
	case told.code == codes.DeadlineExceeded:
		return fmt.Errorf("%w: %s", context.DeadlineExceeded, told.message)
	case told.reason == "SPOOL_FULL" || told.code == codes.DataLoss:
		return fserrors.NoLowLevelRetryError(told)
	}
	return told
}

// delayOf tells whether a repeat may succeed at once or soon, and when.
func delayOf(err error, try int) (time.Duration, bool) {
	if delay, ok := pacer.IsRetryAfter(err); ok {
		return delay, delay <= maxWait
	}
	if fserrors.IsRetryError(err) {
		return min(minBackoff<<min(try, 10), maxBackoff), true
	}
	return 0, false
}

// retry repeats a call that can be repeated while the server, or what is behind it, is not to be
// had. The rate of calls is the server's business: between calls that succeed there is no pause.
func (f *Fs) retry(ctx context.Context, call func(try int) error) error {
	tries := max(fs.GetConfig(ctx).LowLevelRetries, 1)
	for try := 1; ; try++ {
		err := explain(call(try))
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		delay, again := delayOf(err, try)
		if !again || try >= tries {
			return err
		}
		fs.Debugf(f, "%v: low level retry %d/%d in %v", err, try, tries, delay)
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
