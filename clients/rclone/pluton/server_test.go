package pluton_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The key of the emulator's account.
const key = "demo-key_for=the-local_emulator="

// program is the server that is tested: PLUTON_FICHIER, else the newer of those that cargo built.
func program(t testing.TB) string {
	t.Helper()
	if given := os.Getenv("PLUTON_FICHIER"); given != "" {
		return given
	}
	target := os.Getenv("CARGO_TARGET_DIR")
	if target == "" {
		target = filepath.Join(repository, "target")
	}
	var newest string
	var when time.Time
	for _, profile := range []string{"release", "debug"} {
		path := filepath.Join(target, profile, "pluton-fichier")
		if info, err := os.Stat(path); err == nil && info.ModTime().After(when) {
			newest, when = path, info.ModTime()
		}
	}
	if newest == "" {
		t.Fatalf("there is no pluton-fichier in %s: build it, or set PLUTON_FICHIER", target)
	}
	return newest
}

// start runs the program until the end of the test, and gives what it says when it is ready.
func start(t testing.TB, name string, arguments ...string) map[string]any {
	t.Helper()
	command := exec.Command(program(t), arguments...)
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "PLUTON_FICHIER") && !strings.HasPrefix(variable, "RCLONE_") {
			command.Env = append(command.Env, variable)
		}
	}
	command.Env = append(command.Env, "PLUTON_FICHIER_API_KEY="+key)
	log, err := os.Create(filepath.Join(t.TempDir(), name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	command.Stderr = log
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		_ = command.Wait()
		_ = log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("the end of what %s said:\n%s", name, text[max(0, len(text)-4000):])
		}
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		text, _ := os.ReadFile(log.Name())
		t.Fatalf("%s did not start: %v\n%s", name, err, text)
	}
	var ready map[string]any
	if err := json.Unmarshal(line, &ready); err != nil {
		t.Fatal(err)
	}
	return ready
}

// world is a server with an emulated account of its own.
type world struct {
	address string
	// Where the emulator is controlled.
	control string
}

// newWorld starts both. Limits are those of the emulator: none or documented.
func newWorld(t testing.TB, limits string, arguments ...string) world {
	t.Helper()
	emulator := start(t, "emulator", "emulator", "--limits", limits, "--control", "--api-key", key)
	url := fmt.Sprintf("http://%s", emulator["address"])
	if limits == "none" {
		arguments = append(arguments, "--calls-per-second", "0")
	}
	return newServer(t, world{control: url + "/_control"}, arguments...)
}

// newServer starts another server for the account of a world.
func newServer(t testing.TB, w world, arguments ...string) world {
	t.Helper()
	api := strings.TrimSuffix(w.control, "/_control") + "/v1"
	all := []string{"serve", "--grpc-listen", "127.0.0.1:0", "--api-url", api}
	if !slices.Contains(arguments, "--state-dir") {
		all = append(all, "--state-dir", t.TempDir())
	}
	server := start(t, "server", append(all, arguments...)...)
	for _, address := range server["addresses"].([]any) {
		if !strings.HasPrefix(address.(string), "unix:") {
			w.address = address.(string)
		}
	}
	return w
}

// calls is what the emulated account was asked for.
type calls struct {
	Calls  map[string]int `json:"calls"`
	Total  int            `json:"total_v1"`
	Floods int            `json:"floods"`
}

func (w world) calls(t testing.TB) (made calls) {
	t.Helper()
	answer, err := http.Get(w.control + "/calls")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&made); err != nil {
		t.Fatal(err)
	}
	return made
}

// order gives an order to the emulator.
func (w world) order(t testing.TB, operation, body string) {
	t.Helper()
	answer, err := http.Post(w.control+"/"+operation, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(answer.Body)
		t.Fatalf("%s: %s", operation, text)
	}
}
