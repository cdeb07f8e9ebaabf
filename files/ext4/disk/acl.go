package disk

import "slices"

// Tags of the entries of an access control list.
const (
	ACLUserObj  = 0x01 // the owner
	ACLUser     = 0x02 // the user ID names
	ACLGroupObj = 0x04 // the owning group
	ACLGroup    = 0x08 // the group ID names
	ACLMask     = 0x10 // bounds all but the owner and the others
	ACLOther    = 0x20
)

const (
	aclVersion    = 1
	aclHeaderSize = 4
	aclShortSize  = 4 // of an entry without an ID
	aclLongSize   = 8
)

// ACLEntry gives the rights Perm, three bits as in a mode, to those Tag says.
type ACLEntry struct {
	Tag, Perm uint16
	ID        uint32 // with ACLUser and ACLGroup
}

// ACL is an access control list in the order of POSIX.1e: the owner, users, the
// owning group, groups, the mask, the others.
type ACL []ACLEntry

// DecodeACL decodes and validates a list as ext4 stores it in an attribute. A
// list without entries is nil.
func DecodeACL(p []byte) (ACL, error) {
	const what = "access control list"
	if len(p) < aclHeaderSize || le.Uint32(p) != aclVersion {
		return nil, Corrupt(what, "%d bytes without its version", len(p))
	}
	var a ACL
	for p = p[aclHeaderSize:]; len(p) > 0; {
		if len(p) < aclShortSize {
			return nil, Corrupt(what, "ends within an entry")
		}
		e, size := ACLEntry{Tag: le.Uint16(p), Perm: le.Uint16(p[2:])}, aclShortSize
		if e.Tag == ACLUser || e.Tag == ACLGroup {
			if size = aclLongSize; len(p) < size {
				return nil, Corrupt(what, "ends within an entry")
			}
			e.ID = le.Uint32(p[4:])
		}
		a, p = append(a, e), p[size:]
	}
	if !a.valid() {
		return nil, Corrupt(what, "entries are missing, twice or out of order")
	}
	return a, nil
}

func (a ACL) valid() bool {
	var last, seen uint16
	for _, e := range a {
		several := e.Tag == ACLUser || e.Tag == ACLGroup
		if e.Tag < last || e.Tag == last && !several || e.Perm > 7 || !slices.Contains(aclTags, e.Tag) {
			return false
		}
		last = e.Tag
		seen |= e.Tag
	}
	const needed = ACLUserObj | ACLGroupObj | ACLOther
	return len(a) == 0 || seen&needed == needed && (seen&(ACLUser|ACLGroup) == 0 || seen&ACLMask != 0)
}

var aclTags = []uint16{ACLUserObj, ACLUser, ACLGroupObj, ACLGroup, ACLMask, ACLOther}

// Encode is the form ext4 stores.
func (a ACL) Encode() []byte {
	p := le.AppendUint32(nil, aclVersion)
	for _, e := range a {
		p = le.AppendUint16(le.AppendUint16(p, e.Tag), e.Perm)
		if e.Tag == ACLUser || e.Tag == ACLGroup {
			p = le.AppendUint32(p, e.ID)
		}
	}
	return p
}

// shift says which three bits of a mode stand for entry k, if any do: the
// group's are those of the mask when there is one.
func (a ACL) shift(k int) (uint, bool) {
	masked := slices.ContainsFunc(a, func(e ACLEntry) bool { return e.Tag == ACLMask })
	switch tag := a[k].Tag; {
	case tag == ACLUserObj:
		return 6, true
	case tag == ACLMask, tag == ACLGroupObj && !masked:
		return 3, true
	case tag == ACLOther:
		return 0, true
	}
	return 0, false
}

// Mode returns the nine bits of a mode that the list amounts to, and whether
// they say all that it does, so that it need not be kept.
func (a ACL) Mode() (bits uint16, all bool) {
	for k, e := range a {
		if s, ok := a.shift(k); ok {
			bits |= e.Perm << s
		}
	}
	return bits, len(a) <= 3
}

// WithMode returns the list after a change of the mode.
func (a ACL) WithMode(mode uint16) ACL {
	a = slices.Clone(a)
	for k := range a {
		if s, ok := a.shift(k); ok {
			a[k].Perm = mode >> s & 7
		}
	}
	return a
}

// Inherit returns the list, of a directory's default, that something made in it
// has, and its mode: both give no more than the mode asked for.
func (a ACL) Inherit(mode uint16) (ACL, uint16) {
	a = slices.Clone(a)
	for k := range a {
		if s, ok := a.shift(k); ok {
			a[k].Perm &= mode >> s
		}
	}
	bits, _ := a.Mode()
	return a, mode&^0o777 | bits
}
