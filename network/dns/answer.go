package dns

import (
	"context"
	"encoding/binary"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// ttlSeconds is how long askers may keep the address of a domain.
	ttlSeconds = 5
	// queryBytesMax bounds a query; one with every option in use is far shorter.
	queryBytesMax = 4096
	// addressesMax bounds the addresses of one answer.
	addressesMax = 256
	// datagramBytesMin is what any asker takes in a datagram (RFC 1035, 4.2.1), and
	// datagramBytesMax what is sent at most, so that no router has to cut it.
	datagramBytesMin = 512
	datagramBytesMax = 1232
	// messageBytesMax is the longest message on a stream.
	messageBytesMax = 65535

	headerBytes = 12
	rcodeBADVER = 16 // RFC 6891, 9
)

// Entry is what a network says of a name.
type Entry struct {
	// Own: the name is the network's to give, whether or not there is anybody of it now,
	// and nobody else is asked about it.
	Own bool
	// Addresses of the domain of that name.
	Addresses []netip.Addr
	// Names of the domain whose address it is the name of (see Reverse), without a dot
	// at the end.
	Names []string
}

// Names returns what a network says of a name, which is in lower case and without a dot
// at the end.
type Names func(ctx context.Context, name string) (Entry, error)

// Lookup is n for a name as a user may write it; a nil n knows none.
func (n Names) Lookup(ctx context.Context, name string) (Entry, error) {
	if n == nil {
		return Entry{}, nil
	}
	return n(ctx, strings.ToLower(strings.TrimSuffix(name, ".")))
}

// Forward sends a query to a resolver and returns its reply.
type Forward func(ctx context.Context, query []byte) (reply []byte, err error)

// Answerer answers queries.
type Answerer struct {
	// Names are those of the network; nil knows none.
	Names Names
	// Forward is asked about all others. With nil they do not exist.
	Forward Forward
}

// query is a message that can be answered.
type query struct {
	header   dnsmessage.Header
	question dnsmessage.Question
	// edns: the asker knows EDNS (RFC 6891), of version, and takes datagrams of
	// datagramBytes.
	edns          bool
	version       uint8
	datagramBytes int
}

// Answer returns the reply to a query, for a stream; nil if the message is none and so
// must not be answered.
func (a *Answerer) Answer(ctx context.Context, message []byte) []byte {
	q, rcode, ok := parse(message)
	switch {
	case !ok:
		return nil
	case rcode != dnsmessage.RCodeSuccess:
		return q.reply(rcode, false, nil)
	}
	e, err := a.lookup(ctx, &q)
	switch {
	case err != nil:
		return q.reply(dnsmessage.RCodeServerFailure, false, nil)
	case len(e.Addresses)+len(e.Names) > 0:
		return q.reply(dnsmessage.RCodeSuccess, true, &e)
	case e.Own || a.Forward == nil:
		return q.reply(dnsmessage.RCodeNameError, e.Own, nil)
	}
	reply, err := a.Forward(ctx, message)
	if err != nil || len(reply) > messageBytesMax || !q.answeredBy(reply) {
		return q.reply(dnsmessage.RCodeServerFailure, false, nil)
	}
	return reply
}

// AnswerDatagram is Answer for a datagram: an answer that is longer than the asker
// takes is replaced by the advice to ask again on a stream.
func (a *Answerer) AnswerDatagram(ctx context.Context, message []byte) []byte {
	reply := a.Answer(ctx, message)
	q, _, _ := parse(message)
	if len(reply) <= q.datagramBytes {
		return reply
	}
	q.header.Truncated = true
	return q.reply(dnsmessage.RCode(reply[3]&0xf), reply[2]&4 != 0, nil)
}

// lookup returns what the network says of the name that is asked about.
func (a *Answerer) lookup(ctx context.Context, q *query) (Entry, error) {
	if q.question.Class != dnsmessage.ClassINET && q.question.Class != dnsmessage.ClassANY {
		return Entry{}, nil
	}
	e, err := a.Names.Lookup(ctx, q.question.Name.String())
	e.Addresses = e.Addresses[:min(len(e.Addresses), addressesMax)]
	e.Names = e.Names[:min(len(e.Names), addressesMax)]
	return e, err
}

// parse returns the query in a message, and how it is to be refused if it is not
// understood; false if nothing may be answered to it at all.
func parse(message []byte) (q query, refusal dnsmessage.RCode, ok bool) {
	q.datagramBytes = datagramBytesMin
	var p dnsmessage.Parser
	var err error
	if q.header, err = p.Start(message); err != nil || q.header.Response {
		return q, 0, false
	}
	if q.header.OpCode != 0 {
		return q, dnsmessage.RCodeNotImplemented, true
	}
	if len(message) > queryBytesMax || binary.BigEndian.Uint16(message[4:]) != 1 {
		return q, dnsmessage.RCodeFormatError, true
	}
	question, err := p.Question()
	if err == nil {
		err = p.SkipAllQuestions()
	}
	if err == nil {
		err = p.SkipAllAnswers()
	}
	if err == nil {
		err = p.SkipAllAuthorities()
	}
	for err == nil {
		var h dnsmessage.ResourceHeader
		if h, err = p.AdditionalHeader(); err == nil {
			q.option(&h)
			err = p.SkipAdditional()
		}
	}
	if err != dnsmessage.ErrSectionDone {
		return q, dnsmessage.RCodeFormatError, true
	}
	q.question = question
	if q.version != 0 {
		return q, rcodeBADVER, true
	}
	return q, dnsmessage.RCodeSuccess, true
}

// option notes what a record of the additional section says of the asker.
func (q *query) option(h *dnsmessage.ResourceHeader) {
	if h.Type != dnsmessage.TypeOPT {
		return
	}
	q.edns, q.version = true, uint8(h.TTL>>16)
	q.datagramBytes = min(max(int(h.Class), datagramBytesMin), datagramBytesMax)
}

// answeredBy tells whether reply is one to q.
func (q *query) answeredBy(reply []byte) bool {
	var p dnsmessage.Parser
	h, err := p.Start(reply)
	if err != nil || !h.Response || h.ID != q.header.ID {
		return false
	}
	got, err := p.Question()
	return err == nil && got.Type == q.question.Type && got.Class == q.question.Class &&
		strings.EqualFold(got.Name.String(), q.question.Name.String())
}

// reply builds an answer of our own: what was asked for of an entry, which may be nil.
func (q *query) reply(rcode dnsmessage.RCode, known bool, e *Entry) []byte {
	if e == nil {
		e = new(Entry)
	}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: q.header.ID, Response: true, OpCode: q.header.OpCode, RCode: rcode & 0xf,
		RecursionDesired: q.header.RecursionDesired, RecursionAvailable: true, Authoritative: known, Truncated: q.header.Truncated})
	b.EnableCompression()
	if q.question.Name.Length > 0 {
		// Nothing that was parsed fails to be built again, here and below.
		_ = b.StartQuestions()
		_ = b.Question(q.question)
	}
	_ = b.StartAnswers()
	h := dnsmessage.ResourceHeader{Name: q.question.Name, Class: dnsmessage.ClassINET, TTL: ttlSeconds}
	for _, a := range e.Addresses {
		switch a = a.Unmap(); {
		case a.Is4() && q.asksFor(dnsmessage.TypeA):
			_ = b.AResource(h, dnsmessage.AResource{A: a.As4()})
		case a.Is6() && q.asksFor(dnsmessage.TypeAAAA):
			_ = b.AAAAResource(h, dnsmessage.AAAAResource{AAAA: a.As16()})
		}
	}
	for _, name := range e.Names {
		if ptr, err := dnsmessage.NewName(name + "."); err == nil && q.asksFor(dnsmessage.TypePTR) {
			_ = b.PTRResource(h, dnsmessage.PTRResource{PTR: ptr})
		}
	}
	if q.edns {
		var h dnsmessage.ResourceHeader
		_ = h.SetEDNS0(datagramBytesMax, rcode, false)
		_ = b.StartAdditionals()
		_ = b.OPTResource(h, dnsmessage.OPTResource{})
	}
	message, err := b.Finish()
	if err != nil {
		return nil
	}
	return message
}

func (q *query) asksFor(t dnsmessage.Type) bool {
	return q.question.Type == t || q.question.Type == dnsmessage.TypeALL
}
