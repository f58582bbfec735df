// A client of pluton.storage.v1: tests the connection, stores a file, lists it, reads it with an
// interruption, hashes and deletes it, and decodes an error.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	storage "pluton-fichier.example/client/gen/pluton/storage/v1"
)

const chunk = 256 << 10

type options struct {
	address, ca, tokenFile, serviceConfig string
	tls                                   bool
	timeout                               time.Duration
	size                                  int
}

func env(name, standard string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return standard
}

// client is the stub, with what every call carries.
type client struct {
	storage.StorageBackendClient
	token   string
	timeout time.Duration
}

func dial(o options) (*grpc.ClientConn, error) {
	// Which calls may be repeated by themselves, and how often. A program would embed it.
	config, err := os.ReadFile(o.serviceConfig)
	if err != nil {
		return nil, err
	}
	security := insecure.NewCredentials()
	if o.tls || o.ca != "" {
		var roots *x509.CertPool // nil: those of this machine
		if o.ca != "" {
			pem, err := os.ReadFile(o.ca)
			if err != nil {
				return nil, err
			}
			if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("%s has no certificate", o.ca)
			}
		}
		security = credentials.NewClientTLSFromCert(roots, "")
	}
	return grpc.NewClient(o.address,
		grpc.WithTransportCredentials(security), grpc.WithDefaultServiceConfig(string(config)))
}

// context is that of one call: with its deadline and the token.
func (c client) context() (context.Context, context.CancelFunc) {
	ctx := context.Background()
	if c.token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.token)
	}
	return context.WithTimeout(ctx, c.timeout)
}

func (c client) testConnection() error {
	ctx, cancel := c.context()
	defer cancel()
	info, err := c.GetInfo(ctx, &storage.GetInfoRequest{})
	if err != nil {
		return err
	}
	fmt.Printf("server: %s %s, remote %s\n", info.ServerName, info.ServerVersion, info.Remotes[0].Name)
	about, err := c.About(ctx, &storage.AboutRequest{})
	if err != nil {
		return err
	}
	fmt.Printf("space: %d bytes free\n", about.GetFreeBytes())
	answer, err := c.TestConnection(ctx, &storage.TestConnectionRequest{})
	if err != nil {
		return err
	}
	for _, check := range answer.Checks {
		state := strings.ToLower(strings.TrimPrefix(check.State.String(), "CHECK_STATE_"))
		text := fmt.Sprintf("check %s: %s", check.Name, state)
		if message := check.GetFailure().GetMessage(); message != "" {
			text += ": " + message
		}
		fmt.Println(text)
	}
	if !answer.Healthy {
		return errors.New("the remote does not work")
	}
	return nil
}

// put stores a file. Nothing is stored before the commit; the answer comes when the file is
// verified.
func (c client) put(path string, content []byte) (*storage.Entry, error) {
	ctx, cancel := c.context()
	defer cancel()
	stream, err := c.Put(ctx)
	if err != nil {
		return nil, err
	}
	size := int64(len(content))
	messages := func(yield func(*storage.PutRequest) bool) {
		header := &storage.PutHeader{Path: path, Size: proto.Int64(size)}
		if !yield(&storage.PutRequest{Payload: &storage.PutRequest_Header{Header: header}}) {
			return
		}
		for offset := 0; offset < len(content); offset += chunk {
			data := content[offset:min(offset+chunk, len(content))]
			piece := &storage.Chunk{Offset: int64(offset), Data: data}
			if !yield(&storage.PutRequest{Payload: &storage.PutRequest_Chunk{Chunk: piece}}) {
				return
			}
			if done := (offset + len(data)) * 4 / len(content); done > offset*4/len(content) {
				fmt.Printf("put: %d %%\n", done*25)
			}
		}
		sum := &storage.Checksum{Algorithm: storage.HashAlgorithm_HASH_ALGORITHM_SHA256, Hex: hash(content)}
		commit := &storage.PutCommit{Size: size, Checksums: []*storage.Checksum{sum}}
		yield(&storage.PutRequest{Payload: &storage.PutRequest_Commit{Commit: commit}})
	}
	for message := range messages {
		// Send waits while there is no room. io.EOF: the server has ended the call, and
		// CloseAndRecv tells why.
		if err := stream.Send(message); err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
	}
	answer, err := stream.CloseAndRecv()
	if err != nil {
		return nil, err
	}
	fmt.Printf("put: stored %s, %d bytes\n", answer.Entry.Path, answer.Entry.GetSize())
	return answer.Entry, nil
}

func (c client) list(path string) error {
	ctx, cancel := c.context()
	defer cancel()
	stream, err := c.List(ctx, &storage.ListRequest{Path: path})
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
		for _, failure := range page.Failures {
			fmt.Fprintf(os.Stderr, "list: %s: %s\n", failure.Path, failure.Failure.Message)
		}
		for _, entry := range page.Entries {
			fmt.Printf("list: %s %d\n", entry.Path, entry.GetSize())
		}
	}
}

// get gives the content from offset on, and whether it is complete: only with its trailer is it.
// With stopAfter > 0 it leaves after so many bytes, as if the network had failed.
func (c client) get(path string, offset, stopAfter int, etag string) (content []byte, complete bool, err error) {
	ctx, cancel := c.context()
	defer cancel() // also ends a call that is not read to its end
	// The etag: what is read later must be the same file.
	request := &storage.GetRequest{Path: path, IfMatchEtag: etag}
	if offset > 0 {
		request.Ranges = []*storage.ByteRange{{Offset: int64(offset)}}
	}
	stream, err := c.Get(ctx, request)
	if err != nil {
		return nil, false, err
	}
	for {
		message, err := stream.Recv()
		if err == io.EOF {
			return content, complete, nil
		} else if err != nil {
			return content, false, err
		}
		content = append(content, message.GetChunk().GetData()...)
		complete = complete || message.GetTrailer() != nil
		if stopAfter > 0 && len(content) >= stopAfter {
			return content, complete, nil
		}
	}
}

func (c client) hash(path string) (string, error) {
	ctx, cancel := c.context()
	defer cancel()
	algorithm := storage.HashAlgorithm_HASH_ALGORITHM_SHA256
	answer, err := c.Hash(ctx, &storage.HashRequest{Path: path, Algorithm: algorithm})
	return answer.GetChecksum().GetHex(), err
}

// delete removes a file. A batch has one result for each file, and each may have failed.
func (c client) delete(path string) error {
	ctx, cancel := c.context()
	defer cancel()
	answer, err := c.Delete(ctx, &storage.DeleteRequest{Targets: []*storage.DeleteTarget{{Path: path}}})
	if err != nil {
		return err
	}
	for _, result := range answer.Results {
		if result.Failure != nil {
			return fmt.Errorf("%s: %s", result.Failure.Reason, result.Failure.Message)
		}
		fmt.Println("deleted:", result.Path)
	}
	return nil
}

func hash(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// explain gives the text, the reason and the delay of an error: its details are messages of
// google.rpc.
func explain(err error) string {
	answer, ok := status.FromError(err)
	if !ok {
		return err.Error()
	}
	text, delay := fmt.Sprintf("%s: %s", code(answer.Code()), answer.Message()), ""
	for _, detail := range answer.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			text = fmt.Sprintf("%s %s: %s", code(answer.Code()), detail.Reason, answer.Message())
		case *errdetails.RetryInfo:
			delay = fmt.Sprintf(" (retry in %.1f s)", detail.RetryDelay.AsDuration().Seconds())
		}
	}
	return text + delay
}

// code gives the name of a code as the protocol has it; Go's own is "NotFound".
func code(c codes.Code) string {
	var name strings.Builder
	for i, letter := range c.String() {
		if i > 0 && letter >= 'A' && letter <= 'Z' && c != codes.OK {
			name.WriteByte('_')
		}
		name.WriteRune(letter)
	}
	return strings.ToUpper(name.String())
}

func run(c client, size int) error {
	const path = "examples/go/demo.bin"
	content := make([]byte, size)
	rand.Read(content)
	if err := c.testConnection(); err != nil {
		return err
	}
	entry, err := c.put(path, content)
	if err != nil {
		return err
	}
	if err := c.list("examples/go"); err != nil {
		return err
	}
	first, complete, err := c.get(path, 0, size/2, "")
	if err != nil {
		return err
	}
	fmt.Printf("get: interrupted after %d bytes, complete: %t\n", len(first), complete)
	rest, complete, err := c.get(path, len(first), 0, entry.Etag)
	if err != nil {
		return err
	}
	same := bytes.Equal(append(first[:len(first):len(first)], rest...), content)
	fmt.Printf("get: resumed at %d, complete: %t, same: %t\n", len(first), complete, same)
	checksum, err := c.hash(path)
	if err != nil {
		return err
	}
	fmt.Println("hash: sha256", checksum)
	if err := c.delete(path); err != nil {
		return err
	}
	ctx, cancel := c.context()
	defer cancel()
	if _, err := c.Stat(ctx, &storage.StatRequest{Path: path}); err != nil {
		fmt.Println("as expected:", explain(err))
	}
	if !same || !complete || checksum != hash(content) {
		return errors.New("what was read is not what was stored")
	}
	fmt.Println("done")
	return nil
}

func main() {
	var o options
	var seconds float64
	flag.StringVar(&o.address, "address", env("PLUTON_FICHIER_SERVER", "127.0.0.1:50051"), "host:port or unix:/path")
	flag.BoolVar(&o.tls, "tls", false, "encrypt, and trust the authorities of this machine")
	flag.StringVar(&o.ca, "ca", env("PLUTON_FICHIER_CA", ""), "encrypt, and trust the authorities in this PEM file")
	flag.StringVar(&o.tokenFile, "token-file", "", "file with the access token; the token itself may stand in PLUTON_FICHIER_TOKEN")
	flag.StringVar(&o.serviceConfig, "service-config", "../../proto/pluton/storage/v1/storage_grpc_service_config.json", "what may be repeated, and how often")
	flag.Float64Var(&seconds, "timeout", 120, "seconds for each call")
	flag.IntVar(&o.size, "size", 8<<20, "bytes of the file that is stored")
	flag.Parse()
	o.timeout = time.Duration(seconds * float64(time.Second))

	// Not as an argument: everybody on the machine can read those.
	token := os.Getenv("PLUTON_FICHIER_TOKEN")
	if o.tokenFile != "" {
		text, err := os.ReadFile(o.tokenFile)
		if err != nil {
			fail(err)
		}
		token = strings.TrimSpace(string(text))
	}
	connection, err := dial(o)
	if err != nil {
		fail(err)
	}
	defer connection.Close()
	c := client{storage.NewStorageBackendClient(connection), token, o.timeout}
	if err := run(c, o.size); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "error:", explain(err))
	os.Exit(1)
}
