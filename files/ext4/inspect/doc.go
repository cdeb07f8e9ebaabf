// Package inspect makes ext4 file systems on image files and looks into them,
// without servers: what the commands mkfs, fsck and debug ext4 do.
//
// Each look returns a value that is printed for people (its Print) or encoded
// as JSON for programs. Looking changes nothing: a journal that needs recovery
// is replayed in memory.
//
// Trust: images are hostile. Names and labels are printed quoted where they
// hold anything but printable characters.
package inspect
