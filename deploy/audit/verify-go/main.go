// Verifies a log folder of dosimeter's audit history with somebody else's code: the note and tlog
// packages of Go's checksum database. It shares nothing with the writer but the C2SP formats.
//
//	verify-go LOG VKEY      LOG: the folder with tile/ and checkpoint; VKEY: name+id+base64
//
// Exit status: 0 verified, 4 something is wrong, 2 called wrongly.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const width = 256

type checkpoint struct {
	size int64
	root tlog.Hash
}

// tiles reads tiles as C2SP tlog-tiles lays them out: as Go does, without the height.
type tiles struct{ folder string }

func (t tiles) Height() int                         { return 8 }
func (t tiles) SaveTiles(_ []tlog.Tile, _ [][]byte) {}

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range wanted {
		data, err := readWidth(t.folder, strings.TrimPrefix(tile.Path(), "tile/8/"), tile)
		if err != nil {
			return nil, err
		}
		if len(data) < tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s: %d bytes", tile.Path(), len(data))
		}
		found = append(found, data[:tile.W*tlog.HashSize])
	}
	return found, nil
}

// readWidth reads a partial file, or the whole one that has replaced it.
func readWidth(folder, name string, tile tlog.Tile) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(folder, "tile", name))
	if errors.Is(err, fs.ErrNotExist) && tile.W < width {
		name = strings.TrimSuffix(name, fmt.Sprintf(".p/%d", tile.W))
		return os.ReadFile(filepath.Join(folder, "tile", name))
	}
	return data, err
}

func open(text []byte, key note.Verifier) (checkpoint, error) {
	signed, err := note.Open(text, note.VerifierList(key))
	if err != nil {
		return checkpoint{}, err
	}
	lines := strings.Split(signed.Text, "\n")
	if len(lines) < 4 || lines[0] != key.Name() {
		return checkpoint{}, errors.New("not a checkpoint of this log")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return checkpoint{}, err
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return checkpoint{}, errors.New("a root that is no hash")
	}
	return checkpoint{size, tlog.Hash(root)}, nil
}

// split takes apart the file of all signed checkpoints, one note after another.
func split(text string) []string {
	var notes []string
	start := 0
	for at := 0; at < len(text); {
		end := at + strings.IndexByte(text[at:]+"\n", '\n') + 1
		end = min(end, len(text))
		signature := strings.HasPrefix(text[at:], "— ")
		if signature && !strings.HasPrefix(text[end:], "— ") {
			notes = append(notes, text[start:end])
			start = end
		}
		at = end
	}
	return notes
}

// entries checks every entry against the tree that the checkpoint signs, and says which differ.
func entries(folder string, now checkpoint, hashes tlog.HashReader) (wrong int) {
	for first := int64(0); first < now.size; first += width {
		tile := tlog.Tile{H: 8, L: 0, N: first / width, W: int(min(width, now.size-first))}
		name := "entries/" + strings.TrimPrefix(tile.Path(), "tile/8/0/")
		data, err := readWidth(folder, name, tile)
		if err != nil {
			fmt.Println("WRONG:", err)
			wrong++
			continue
		}
		indexes := make([]int64, tile.W)
		for n := range indexes {
			indexes[n] = tlog.StoredHashIndex(0, first+int64(n))
		}
		signed, err := hashes.ReadHashes(indexes)
		if err != nil {
			fmt.Printf("WRONG: tiles over entries %d to %d: %v\n", first, first+int64(tile.W)-1, err)
			wrong++
			continue
		}
		for n, hash := range signed {
			if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
				fmt.Printf("WRONG: %s ends before entry %d\n", name, first+int64(n))
				wrong++
				break
			}
			end := 2 + int(binary.BigEndian.Uint16(data))
			if tlog.RecordHash(data[2:end]) != hash {
				fmt.Printf("WRONG: entry %d is not what was signed\n", first+int64(n))
				wrong++
			}
			data = data[end:]
		}
	}
	return wrong
}

func verify(folder, vkey string) (wrong int) {
	key, err := note.NewVerifier(vkey)
	if err != nil {
		fmt.Fprintln(os.Stderr, "the key:", err)
		os.Exit(2)
	}
	text, err := os.ReadFile(filepath.Join(folder, "checkpoint"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	now, err := open(text, key)
	if err != nil {
		fmt.Println("WRONG: checkpoint:", err)
		return 1
	}
	hashes := tlog.TileHashReader(tlog.Tree{N: now.size, Hash: now.root}, tiles{folder})
	wrong = entries(folder, now, hashes)
	kept, err := os.ReadFile(filepath.Join(folder, "checkpoints"))
	if err != nil {
		fmt.Println("WRONG:", err)
		return wrong + 1
	}
	notes := split(string(kept))
	for n, text := range notes {
		then, err := open([]byte(text), key)
		if err == nil && then.size > now.size {
			err = fmt.Errorf("over %d entries, the log over %d", then.size, now.size)
		}
		if err == nil && then.size > 0 {
			var root tlog.Hash
			root, err = tlog.TreeHash(then.size, hashes)
			if err == nil && root != then.root {
				err = fmt.Errorf("another root over the first %d entries", then.size)
			}
		}
		if err != nil {
			fmt.Printf("WRONG: kept checkpoint %d: %v\n", n, err)
			wrong++
		}
	}
	fmt.Printf("%d entries and %d checkpoints read\n", now.size, len(notes))
	return wrong
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: verify-go LOG VKEY")
		os.Exit(2)
	}
	if wrong := verify(os.Args[1], os.Args[2]); wrong > 0 {
		fmt.Printf("%d things are wrong\n", wrong)
		os.Exit(4)
	}
	fmt.Println("verified")
}
