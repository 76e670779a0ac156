package pkcs11

/*
#include <dlfcn.h>
#include <stdlib.h>

// diamante_probe loads a library and returns NULL, or says why it cannot be used. The text belongs to the C library. The
// handle is kept for the life of the process: libraries that start threads or register exit handlers, SoftHSM among
// them, do not survive being unloaded.
static const char *diamante_probe(const char *path) {
	void *handle = dlopen(path, RTLD_NOW);
	if (handle == NULL) {
		return dlerror();
	}
	if (dlsym(handle, "C_GetFunctionList") == NULL) {
		return "it has no C_GetFunctionList, so it is not a PKCS#11 library";
	}
	return NULL;
}
#cgo linux LDFLAGS: -ldl
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"unsafe"

	p11 "github.com/miekg/pkcs11"
)

type (
	session = p11.SessionHandle
	object  = p11.ObjectHandle
)

// A PKCS#11 library is initialised once for the whole process, whoever loads it, so who has it is the process's state.
var libraries = struct {
	sync.Mutex
	loaded map[string]*p11.Ctx
	taken  map[string]bool
}{loaded: map[string]*p11.Ctx{}, taken: map[string]bool{}}

// library is a loaded PKCS#11 library that is ours alone until release. Every call names the function that failed.
type library struct {
	path        string
	ctx         *p11.Ctx
	initialised bool // guarded by its owner, who also makes sure that no call is in flight when it changes

	// fault, when set by a test, is asked before each call and makes it fail without happening.
	fault atomic.Pointer[func(call string) error]
}

// load loads the library at path, which nobody else in this process may be using.
func load(path string) (*library, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("pkcs11: module: %w", err)
	}
	if info, err := os.Stat(real); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("pkcs11: module %s is not a file", path)
	}
	libraries.Lock()
	defer libraries.Unlock()
	if libraries.taken[real] {
		return nil, fmt.Errorf("pkcs11: module %s is in use in this process already", path)
	}
	ctx := libraries.loaded[real]
	if ctx == nil {
		// The binding answers a failed dlopen with nil and no reason, so the reason is found out first.
		name := C.CString(real)
		defer C.free(unsafe.Pointer(name))
		if why := C.diamante_probe(name); why != nil {
			return nil, fmt.Errorf("pkcs11: module %s: %s", path, C.GoString(why))
		}
		if ctx = p11.New(real); ctx == nil {
			return nil, fmt.Errorf("pkcs11: module %s cannot be loaded", path)
		}
		libraries.loaded[real] = ctx
	}
	libraries.taken[real] = true
	return &library{path: real, ctx: ctx}, nil
}

// release finalises the library and lets others have it.
func (l *library) release() error {
	err := l.finalise()
	libraries.Lock()
	defer libraries.Unlock()
	delete(libraries.taken, l.path)
	return err
}

// call runs one C call, or the fault that a test put in its place.
func (l *library) call(name string, f func() error) error {
	if fault := l.fault.Load(); fault != nil {
		if err := (*fault)(name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := f(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// restart finalises the library if it was initialised, and initialises it.
func (l *library) restart() error {
	_ = l.finalise() // a device that went away may fail this, too; what counts is whether it can be initialised again
	err := l.call("C_Initialize", func() error {
		err := l.ctx.Initialize()
		if errors.Is(err, p11.Error(p11.CKR_CRYPTOKI_ALREADY_INITIALIZED)) {
			return nil
		}
		return err
	})
	l.initialised = err == nil
	return err
}

func (l *library) finalise() error {
	if !l.initialised {
		return nil
	}
	l.initialised = false
	return l.call("C_Finalize", l.ctx.Finalize)
}

func (l *library) slots() (list []uint, err error) {
	err = l.call("C_GetSlotList", func() (err error) { list, err = l.ctx.GetSlotList(true); return err })
	return list, err
}

func (l *library) tokenInfo(slot uint) (info p11.TokenInfo, err error) {
	err = l.call("C_GetTokenInfo", func() (err error) { info, err = l.ctx.GetTokenInfo(slot); return err })
	return info, err
}

func (l *library) openSession(slot, flags uint) (s session, err error) {
	err = l.call("C_OpenSession", func() (err error) {
		s, err = l.ctx.OpenSession(slot, p11.CKF_SERIAL_SESSION|flags)
		return err
	})
	return s, err
}

// closeSession has no error: a session that cannot be closed is gone, or goes with the next restart.
func (l *library) closeSession(s session) {
	_ = l.call("C_CloseSession", func() error { return l.ctx.CloseSession(s) })
}

func (l *library) closeAllSessions(slot uint) error {
	return l.call("C_CloseAllSessions", func() error { return l.ctx.CloseAllSessions(slot) })
}

// loggedIn reports whether the session belongs to a logged-in user.
func (l *library) loggedIn(s session) (bool, error) {
	var info p11.SessionInfo
	err := l.call("C_GetSessionInfo", func() (err error) { info, err = l.ctx.GetSessionInfo(s); return err })
	return info.State == p11.CKS_RO_USER_FUNCTIONS || info.State == p11.CKS_RW_USER_FUNCTIONS, err
}

// logIn tries the PIN once. That somebody of this process is logged in already is success.
func (l *library) logIn(s session, user uint, pin []byte) error {
	return l.call("C_Login", func() error {
		err := l.ctx.Login(s, user, sharing(pin))
		if errors.Is(err, p11.Error(p11.CKR_USER_ALREADY_LOGGED_IN)) {
			return nil
		}
		return err
	})
}

// sharing returns a string of the very bytes, for a binding that wants strings: it is wiped with them. What the binding
// copies into C's memory we cannot wipe. The caller has checked that there are bytes.
func sharing(secret []byte) string { return unsafe.String(unsafe.SliceData(secret), len(secret)) }

// search returns up to limit objects that match.
func (l *library) search(s session, template []*p11.Attribute, limit int) (found []object, err error) {
	if err := l.call("C_FindObjectsInit", func() error { return l.ctx.FindObjectsInit(s, template) }); err != nil {
		return nil, err
	}
	err = l.call("C_FindObjects", func() (err error) { found, _, err = l.ctx.FindObjects(s, limit); return err })
	if err != nil {
		return nil, err
	}
	return found, l.call("C_FindObjectsFinal", func() error { return l.ctx.FindObjectsFinal(s) })
}

// attributes returns the values of the attributes named, in that order.
func (l *library) attributes(s session, o object, names ...uint) ([][]byte, error) {
	template := make([]*p11.Attribute, len(names))
	for i, name := range names {
		template[i] = p11.NewAttribute(name, nil)
	}
	var got []*p11.Attribute
	err := l.call("C_GetAttributeValue", func() (err error) { got, err = l.ctx.GetAttributeValue(s, o, template); return err })
	if err != nil {
		return nil, err
	}
	values := make([][]byte, len(names))
	for i := range values {
		values[i] = got[i].Value
	}
	return values, nil
}

// sign signs with a mechanism without a parameter, which for EdDSA means the pure one.
func (l *library) sign(s session, k key, message []byte) (signature []byte, err error) {
	mechanism := []*p11.Mechanism{p11.NewMechanism(curves[k.public.Algorithm()].sign, nil)}
	if err := l.call("C_SignInit", func() error { return l.ctx.SignInit(s, mechanism, k.private) }); err != nil {
		return nil, err
	}
	err = l.call("C_Sign", func() (err error) { signature, err = l.ctx.Sign(s, message); return err })
	return signature, err
}
