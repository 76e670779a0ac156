package ceremony

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// File is a transcript on disk that one process at a time adds lines to.
type File struct {
	*Transcript
	f *os.File
}

// ErrBusy: another process has the transcript open.
var ErrBusy = errors.New("ceremony: another process has the transcript open")

// CreateFile begins a transcript in a file that does not exist yet.
func CreateFile(path string, p Plan, now time.Time) (*File, error) {
	t, line, err := Begin(p, now)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	file := &File{t, f}
	if err := errors.Join(file.lock(), file.Append(line), syncFolder(path)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return file, nil
}

// OpenFile reads a transcript to go on with. A line that was being written when the machine stopped is removed.
func OpenFile(path string) (*File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	file := &File{f: f}
	if err := file.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return file, nil
}

func (f *File) load() error {
	if err := f.lock(); err != nil {
		return err
	}
	raw, err := io.ReadAll(io.LimitReader(f.f, MaxTranscript+1))
	if err != nil {
		return err
	}
	t, whole, err := Parse(raw)
	if err != nil {
		return err
	}
	f.Transcript = t
	if whole == len(raw) {
		return nil
	}
	return errors.Join(f.f.Truncate(int64(whole)), f.f.Sync())
}

func (f *File) lock() error {
	if err := syscall.Flock(int(f.f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return ErrBusy
	}
	return nil
}

// Append makes a line durable.
func (f *File) Append(line []byte) error {
	if _, err := f.f.Write(line); err != nil {
		return err
	}
	return f.f.Sync()
}

// Close lets others at the transcript.
func (f *File) Close() error { return f.f.Close() }

// WriteFile is Config.Write: it makes a file that only its owner reads, whole or not at all, and durable.
func WriteFile(path string, content []byte, again bool) error {
	if _, err := os.Lstat(path); err == nil && !again {
		return fmt.Errorf("%s: %w", path, os.ErrExist)
	}
	temporary := path + ".new"
	f, err := os.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	return syncFolder(path)
}

// syncFolder makes the name of a new file durable.
func syncFolder(path string) error {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
