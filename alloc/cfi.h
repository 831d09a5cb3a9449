/*
 * What the call frame information (.eh_frame) says of a frame, exactly, for the few forms that nearly every frame of
 * x86-64 has; all others are refused. A pure function of the bytes and the pc: no memory, no locks, any time.
 */
#ifndef QSLAB_ALLOC_CFI_H
#define QSLAB_ALLOC_CFI_H

#include "base.h"

/*
 * A rule: the caller's stack pointer (CFA) is rsp or rbp plus an offset; the return address is at CFA - 8; the caller's
 * rbp is at CFA minus an offset, or still in rbp. Offsets are words. Of the word that holds a rule the upper half is 0.
 */
#define CFI_KIND(rule) ((rule) & 3)
#define CFI_REFUSED 0 /* not of these forms */
#define CFI_RSP 1
#define CFI_RBP 2
#define CFI_END 3     /* the return address is undefined: the outermost frame */
#define CFI_SAVED_MOST 0xff
#define CFI_OFFSET_MOST 0xfffff
#define CFI_SAVED(rule) ((rule) >> 2 & CFI_SAVED_MOST) /* CFA - 8 * this is where rbp is saved; 0: it is not */
#define CFI_OFFSET(rule) ((rule) >> 10 & CFI_OFFSET_MOST)
#define CFI_RULE(kind, saved, offset) ((uint64_t)(kind) | (uint64_t)(saved) << 2 | (uint64_t)(offset) << 10)

/* Two records: what they describe, each with its length word. */
struct cfi_records {
	const uint8_t *fde, *cie;
	size_t fde_size, cie_size;
};

/* The FDE at `fde` and its CIE, whole in [low, high), or false. */
bool cfi_records(struct cfi_records *out, const uint8_t *fde, const uint8_t *low, const uint8_t *high);

/* The rule at `pc`, an address inside the call; refused where the FDE is not of `pc`. */
uint64_t cfi_rule(const struct cfi_records *records, uintptr_t pc);

#endif
