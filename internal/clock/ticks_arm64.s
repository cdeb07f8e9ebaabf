#include "textflag.h"

// func Ticks() uint64
TEXT ·Ticks(SB),NOSPLIT,$0-8
	ISB	$15
	MRS	CNTVCT_EL0, R0
	MOVD	R0, ret+0(FP)
	RET

// The frame makes the assembler insert a stack check, which is where the
// runtime preempts cooperatively: a loop over Pause does not hold up the
// garbage collector.
// func Pause()
TEXT ·Pause(SB),0,$128-0
	YIELD
	RET
