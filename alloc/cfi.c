/* DWARF 5, 6.4, as .eh_frame has it (Linux Standard Base 5, 10.6), for x86-64. What is not understood is refused. */
#include "cfi.h"

#include <string.h>

#define REMEMBERED_MOST 4
#define ENCODED_PCREL_INT 0x1b /* pcrel | sdata4: what linkers need for the sorted table */

enum how { SAME, SAVED, UNDEFINED, OTHER };

/* Of DWARF's columns, those that a rule speaks of; all others share the last one, which is not looked at. */
enum column { RBP, RSP, RETURN, REST, COLUMNS };

struct row {
	struct {
		enum how how;
		int64_t at; /* SAVED: from the CFA */
	} columns[COLUMNS];
	uint64_t base; /* a DWARF register; NO_BASE: an expression */
	int64_t offset;
};

#define NO_BASE UINT64_MAX

struct cursor {
	const uint8_t *at, *end;
	bool bad; /* read beyond the end, or not understood: all is refused */
};

struct common {
	struct cursor code;
	uint64_t code_unit;
	int64_t data_unit;
};

/* ---- numbers ---------------------------------------------------------------------------------------------------- */

static void refuse(struct cursor *cursor)
{
	cursor->at = cursor->end;
	cursor->bad = true;
}

static void skip(struct cursor *cursor, uint64_t bytes)
{
	if (bytes > (size_t)(cursor->end - cursor->at))
		refuse(cursor);
	else
		cursor->at += bytes;
}

static uint64_t fixed(struct cursor *cursor, unsigned bytes) /* little-endian */
{
	uint64_t value = 0;
	const uint8_t *from = cursor->at;

	skip(cursor, bytes);
	if (!cursor->bad)
		memcpy(&value, from, bytes);
	return value;
}

static uint64_t leb(struct cursor *cursor, bool is_signed)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 63; shift += 7) {
		uint64_t byte = fixed(cursor, 1);
		value |= (byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return is_signed && byte & 0x40 ? value | ~(uint64_t)0 << (shift + 7) : value;
	}
	refuse(cursor);
	return 0;
}

static uint64_t unsigned_leb(struct cursor *cursor)
{
	return leb(cursor, false);
}

static int64_t signed_leb(struct cursor *cursor)
{
	return (int64_t)leb(cursor, true);
}

/* ---- instructions ----------------------------------------------------------------------------------------------- */

static enum column column_of(uint64_t number)
{
	return number == 6 ? RBP : number == 7 ? RSP : number == 16 ? RETURN : REST;
}

static void set(struct row *row, uint64_t number, enum how how, int64_t at)
{
	row->columns[column_of(number)].how = how;
	row->columns[column_of(number)].at = at;
}

/* Back to what the CIE said: libgcc takes that for nothing, which is right but for those that it does speak of. */
static void restore(struct cursor *cursor, struct row *row, uint64_t number)
{
	if (column_of(number) == RETURN || column_of(number) == RSP)
		refuse(cursor);
	set(row, number, SAME, 0);
}

static void set_base(struct cursor *cursor, struct row *row, uint64_t base)
{
	if (row->base == NO_BASE)
		refuse(cursor); /* its offset is not defined */
	row->base = base;
}

static void set_offset(struct cursor *cursor, struct row *row, int64_t offset)
{
	if (row->base == NO_BASE)
		refuse(cursor);
	row->offset = offset;
}

static int64_t scaled(const struct common *common, int64_t factor)
{
	return (int64_t)((uint64_t)factor * (uint64_t)common->data_unit);
}

/* One that does not move the location. */
static void instruction(struct cursor *code, const struct common *common, struct row *row, uint8_t op)
{
	uint64_t number;

	switch (op) {
	case 0x00: /* nop */
		break;
	case 0x05: /* offset_extended */
		number = unsigned_leb(code);
		set(row, number, SAVED, scaled(common, (int64_t)unsigned_leb(code)));
		break;
	case 0x06: /* restore_extended */
		restore(code, row, unsigned_leb(code));
		break;
	case 0x07: /* undefined */
		set(row, unsigned_leb(code), UNDEFINED, 0);
		break;
	case 0x08: /* same_value */
		set(row, unsigned_leb(code), SAME, 0);
		break;
	case 0x09: /* register */
	case 0x14: /* val_offset */
	case 0x15: /* val_offset_sf */
		set(row, unsigned_leb(code), OTHER, 0);
		unsigned_leb(code); /* as long as a signed one */
		break;
	case 0x0c: /* def_cfa */
		row->base = unsigned_leb(code);
		row->offset = (int64_t)unsigned_leb(code);
		break;
	case 0x0d: /* def_cfa_register */
		set_base(code, row, unsigned_leb(code));
		break;
	case 0x0e: /* def_cfa_offset */
		set_offset(code, row, (int64_t)unsigned_leb(code));
		break;
	case 0x0f: /* def_cfa_expression */
		row->base = NO_BASE;
		skip(code, unsigned_leb(code));
		break;
	case 0x10: /* expression */
	case 0x16: /* val_expression */
		set(row, unsigned_leb(code), OTHER, 0);
		skip(code, unsigned_leb(code));
		break;
	case 0x11: /* offset_extended_sf */
		number = unsigned_leb(code);
		set(row, number, SAVED, scaled(common, signed_leb(code)));
		break;
	case 0x12: /* def_cfa_sf */
		row->base = unsigned_leb(code);
		row->offset = scaled(common, signed_leb(code));
		break;
	case 0x13: /* def_cfa_offset_sf */
		set_offset(code, row, scaled(common, signed_leb(code)));
		break;
	case 0x2e: /* GNU_args_size: of no concern to who only looks */
		unsigned_leb(code);
		break;
	default:
		refuse(code);
	}
}

static bool moves(uint8_t op)
{
	return op >> 6 == 1 || (op >= 0x02 && op <= 0x04); /* advance_loc, _loc1, _loc2, _loc4 */
}

static uint64_t distance(struct cursor *code, uint8_t op)
{
	return op >> 6 == 1 ? op & 0x3f : fixed(code, 1u << (op - 2));
}

/* Up to the row of `pc`. */
static bool run(struct cursor code, const struct common *common, struct row *row, uintptr_t location, uintptr_t pc)
{
	struct row remembered[REMEMBERED_MOST];
	unsigned depth = 0;

	while (code.at < code.end) {
		uint8_t op = *code.at++;
		if (moves(op)) {
			location += distance(&code, op) * common->code_unit;
			if (location > pc)
				break;
		} else if (op >> 6 == 2) { /* offset */
			set(row, op & 0x3f, SAVED, scaled(common, (int64_t)unsigned_leb(&code)));
		} else if (op >> 6 == 3) { /* restore */
			restore(&code, row, op & 0x3f);
		} else if (op == 0x0a && depth < REMEMBERED_MOST) { /* remember_state */
			remembered[depth++] = *row;
		} else if (op == 0x0b && depth) { /* restore_state */
			*row = remembered[--depth];
		} else {
			instruction(&code, common, row, op);
		}
	}
	return !code.bad;
}

/* ---- records ---------------------------------------------------------------------------------------------------- */

static void skip_encoded(struct cursor *cursor, uint8_t encoding)
{
	static const uint8_t sizes[8] = {8, 0, 2, 4, 8}; /* by format; signed ones have 8 more */

	if ((encoding & 0x70) == 0x50 || !sizes[encoding & 7])
		refuse(cursor);
	skip(cursor, sizes[encoding & 7]);
}

static bool read_common(struct common *common, const struct cfi_records *records)
{
	struct cursor *cie = &common->code;

	*cie = (struct cursor){records->cie + 8, records->cie + records->cie_size, false};
	uint64_t version = fixed(cie, 1);
	const uint8_t *letters = cie->at;
	while (fixed(cie, 1))
		;
	common->code_unit = unsigned_leb(cie);
	common->data_unit = signed_leb(cie);
	uint64_t return_column = version == 1 ? fixed(cie, 1) : unsigned_leb(cie);
	if (cie->bad || (version != 1 && version != 3) || *letters++ != 'z' || return_column != 16)
		return false;
	struct cursor data = *cie;
	uint64_t size = unsigned_leb(&data);
	*cie = data;
	skip(cie, size);
	data.end = cie->at;
	uint64_t encoding = 0; /* of the FDE's addresses: absolute */
	for (; *letters; letters++) {
		if (*letters == 'R')
			encoding = fixed(&data, 1);
		else if (*letters == 'P')
			skip_encoded(&data, (uint8_t)fixed(&data, 1));
		else if (*letters == 'L')
			fixed(&data, 1);
		else
			return false; /* S: a signal's frame */
	}
	return !cie->bad && !data.bad && encoding == ENCODED_PCREL_INT;
}

static bool record_size(size_t *size, const uint8_t *record, const uint8_t *low, const uint8_t *high)
{
	uint32_t length;

	if (record < low || record > high || high - record < 8)
		return false;
	memcpy(&length, record, sizeof length);
	*size = sizeof length + (size_t)length;
	return length >= 4 && length < 0xfffffff0 && *size <= (size_t)(high - record);
}

bool cfi_records(struct cfi_records *out, const uint8_t *fde, const uint8_t *low, const uint8_t *high)
{
	uint32_t back, zero;

	out->fde = fde;
	if (!record_size(&out->fde_size, fde, low, high))
		return false;
	memcpy(&back, fde + 4, sizeof back);
	if (back > (size_t)(fde + 4 - low))
		return false;
	out->cie = fde + 4 - back;
	if (!record_size(&out->cie_size, out->cie, low, high))
		return false;
	memcpy(&zero, out->cie + 4, sizeof zero);
	return back && !zero;
}

static uint64_t rule_of(const struct row *row)
{
	if (row->columns[RETURN].how == UNDEFINED)
		return CFI_END;
	if (row->columns[RETURN].how != SAVED || row->columns[RETURN].at != -8 || row->columns[RSP].how != SAME ||
	    row->columns[RBP].how > SAVED || (row->base != 6 && row->base != 7))
		return CFI_REFUSED;
	uint64_t saved = row->columns[RBP].how == SAVED ? -(uint64_t)row->columns[RBP].at : 0;
	uint64_t offset = (uint64_t)row->offset;
	if (saved % 8 || saved == 8 || saved / 8 > CFI_SAVED_MOST || (row->columns[RBP].how == SAVED && !saved) ||
	    offset % 8 || offset < 8 || offset / 8 > CFI_OFFSET_MOST)
		return CFI_REFUSED;
	return CFI_RULE(row->base == 7 ? CFI_RSP : CFI_RBP, saved / 8, offset / 8);
}

uint64_t cfi_rule(const struct cfi_records *records, uintptr_t pc)
{
	struct common common;
	struct row row = {.base = NO_BASE};

	if (!read_common(&common, records))
		return CFI_REFUSED;
	struct cursor fde = {records->fde + 8, records->fde + records->fde_size, false};
	uintptr_t start = (uintptr_t)fde.at + (uintptr_t)(int64_t)(int32_t)fixed(&fde, 4);
	uintptr_t size = fixed(&fde, 4);
	skip(&fde, unsigned_leb(&fde));
	if (fde.bad || pc - start >= size || !run(common.code, &common, &row, start, start) ||
	    !run(fde, &common, &row, start, pc))
		return CFI_REFUSED;
	return rule_of(&row);
}
