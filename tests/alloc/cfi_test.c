/* Rules by hand, one form at a time; what is not understood is refused; and no byte beyond the records is read. */
#include "alloc/cfi.h"
#include "check.h"

#define START 0x1000 /* the function's, from its own FDE's place */
#define SIZE 0x100

struct record {
	size_t size;
	uint8_t bytes[96];
};

static void put(struct record *to, const char *bytes, size_t size)
{
	memcpy(to->bytes + to->size, bytes, size);
	to->size += size;
}

static void put_word(struct record *to, uint32_t word)
{
	put(to, (const char *)&word, sizeof word);
}

static void close_record(struct record *record, size_t from)
{
	while ((record->size - from) % 8 != 0)
		put(record, "", 1);
	uint32_t length = (uint32_t)(record->size - from - 4);
	memcpy(record->bytes + from, &length, sizeof length);
}

#define CIE(letters, data) letters "\0\1\x78\x10" data /* -8; the return address is column 16 */
#define PLAIN CIE("zR", "\1\x1b") "\x0c\7\10\x90\1" /* cfa = rsp + 8; it is at cfa - 8 */

/* In memory that ends with the records, so that a sanitizer sees a read beyond. */
static uint64_t read_rule(const char *cie, size_t cie_size, const char *fde, size_t fde_size, size_t offset)
{
	struct record all = {0};
	struct cfi_records records;

	put_word(&all, 0);
	put_word(&all, 0);
	put(&all, "\1", 1);
	put(&all, cie, cie_size);
	close_record(&all, 0);
	size_t at = all.size;
	put_word(&all, 0);
	put_word(&all, (uint32_t)(at + 4));
	put_word(&all, START - 8);
	put_word(&all, SIZE);
	put(&all, "\0", 1);
	put(&all, fde, fde_size);
	close_record(&all, at);
	uint8_t *copy = malloc(all.size);
	memcpy(copy, all.bytes, all.size);
	uint64_t rule = CFI_REFUSED;
	if (cfi_records(&records, copy + at, copy, copy + all.size))
		rule = cfi_rule(&records, (uintptr_t)copy + at + START + offset);
	uint64_t random = 1;
	for (int i = 0; i < 300; i++) { /* whatever the bytes are */
		memcpy(copy, all.bytes, all.size);
		for (int changes = 0; changes < 1 + i % 3; changes++)
			copy[next_random(&random) % all.size] = (uint8_t)next_random(&random);
		if (cfi_records(&records, copy + at, copy, copy + all.size))
			cfi_rule(&records, (uintptr_t)copy + at + START + offset);
	}
	free(copy);
	return rule;
}

#define RULE(cie, fde, offset) read_rule(cie, sizeof cie - 1, fde, sizeof fde - 1, offset)

Test(cfi, plain)
{
	const char pushes[] = "\x41\x0e\x10\x86\2\x43\x0d\6\x02\x20\xc6\x0c\7\10"; /* push rbp; mov rsp, rbp; ...; leave */

	cr_assert(read_rule(PLAIN, sizeof PLAIN - 1, pushes, sizeof pushes - 1, 0) == CFI_RULE(CFI_RSP, 0, 1));
	cr_assert(read_rule(PLAIN, sizeof PLAIN - 1, pushes, sizeof pushes - 1, 1) == CFI_RULE(CFI_RSP, 2, 2));
	cr_assert(read_rule(PLAIN, sizeof PLAIN - 1, pushes, sizeof pushes - 1, 4) == CFI_RULE(CFI_RBP, 2, 2));
	cr_assert(read_rule(PLAIN, sizeof PLAIN - 1, pushes, sizeof pushes - 1, 0x23) == CFI_RULE(CFI_RBP, 2, 2));
	cr_assert(read_rule(PLAIN, sizeof PLAIN - 1, pushes, sizeof pushes - 1, 0x24) == CFI_RULE(CFI_RSP, 0, 1));
	cr_assert(read_rule(PLAIN, sizeof PLAIN - 1, pushes, sizeof pushes - 1, SIZE) == CFI_REFUSED);
}

Test(cfi, forms)
{
	cr_assert(RULE(PLAIN, "\x0e\x80\x02", 0) == CFI_RULE(CFI_RSP, 0, 32));
	cr_assert(RULE(PLAIN, "\x0e\x80\x80\x80\x01", 0) == CFI_RULE(CFI_RSP, 0, 1 << 18));
	cr_assert(RULE(PLAIN, "\x13\x7e", 0) == CFI_RULE(CFI_RSP, 0, 2));       /* def_cfa_offset_sf */
	cr_assert(RULE(PLAIN, "\x12\6\x7d", 0) == CFI_RULE(CFI_RBP, 0, 3));     /* def_cfa_sf */
	cr_assert(RULE(PLAIN, "\5\6\3", 0) == CFI_RULE(CFI_RSP, 3, 1));         /* offset_extended */
	cr_assert(RULE(PLAIN, "\x11\6\4", 0) == CFI_RULE(CFI_RSP, 4, 1));       /* offset_extended_sf */
	cr_assert(RULE(PLAIN, "\x86\4\x0a\x0e\x20\xc6\x0b", 0) == CFI_RULE(CFI_RSP, 4, 1));
	cr_assert(RULE(PLAIN, "\x0a\x0e\x20\x41\x0b", 0) == CFI_RULE(CFI_RSP, 0, 4));
	cr_assert(RULE(PLAIN, "\3\2\1\x0e\x20", SIZE - 1) == CFI_RULE(CFI_RSP, 0, 1)); /* advance_loc2: beyond */
	cr_assert(RULE(PLAIN, "\3\2\0\x0e\x20", SIZE - 1) == CFI_RULE(CFI_RSP, 0, 4));
	cr_assert(RULE(PLAIN, "\x10\3\2\x77\0\x16\x0c\1\x30\x2e\x10", 0) == CFI_RULE(CFI_RSP, 0, 1)); /* of no concern */
	cr_assert(RULE(PLAIN, "\7\x10", 0) == CFI_END);
	cr_assert(RULE(CIE("zPLR", "\7\x9b\1\2\3\4\x1b\x1b") "\x0c\7\10\x90\1", "", 0) == CFI_RULE(CFI_RSP, 0, 1));
}

Test(cfi, refused)
{
	cr_assert(RULE(PLAIN, "\x0f\3\x77\x08\6", 0) == CFI_REFUSED);           /* the CFA is an expression */
	cr_assert(RULE(PLAIN, "\x0f\2\x76\x78\x0d\7", 0) == CFI_REFUSED);
	cr_assert(RULE(PLAIN, "\x0d\x0a", 0) == CFI_REFUSED);                   /* by r10 */
	cr_assert(RULE(PLAIN, "\x0e\x0c", 0) == CFI_REFUSED);                   /* in half a word */
	cr_assert(RULE(PLAIN, "\x0e\0", 0) == CFI_REFUSED);
	cr_assert(RULE(PLAIN, "\x0e\x80\x80\x80\x08", 0) == CFI_REFUSED);       /* too large a frame */
	cr_assert(RULE(PLAIN, "\x86\1", 0) == CFI_REFUSED);                     /* rbp where the return address is */
	cr_assert(RULE(PLAIN, "\x86\0", 0) == CFI_REFUSED);
	cr_assert(RULE(PLAIN, "\x86\x80\2", 0) == CFI_REFUSED);
	cr_assert(RULE(PLAIN, "\x10\6\2\x77\0", 0) == CFI_REFUSED);
	cr_assert(RULE(PLAIN, "\x09\6\3", 0) == CFI_REFUSED);
	cr_assert(RULE(PLAIN, "\7\6", 0) == CFI_REFUSED);
	cr_assert(RULE(PLAIN, "\x90\2", 0) == CFI_REFUSED);                     /* the return address elsewhere */
	cr_assert(RULE(PLAIN, "\xd0", 0) == CFI_REFUSED);
	cr_assert(RULE(PLAIN, "\x87\3", 0) == CFI_REFUSED);                     /* rsp is saved */
	cr_assert(RULE(PLAIN, "\x0b", 0) == CFI_REFUSED);
	cr_assert(RULE(PLAIN, "\x0a\x0a\x0a\x0a\x0a", 0) == CFI_REFUSED);
	cr_assert(RULE(PLAIN, "\x2d", 0) == CFI_REFUSED);
	cr_assert(RULE(PLAIN, "\x0e\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\1", 0) == CFI_REFUSED);
	cr_assert(RULE(CIE("zRS", "\1\x1b") "\x0c\7\10\x90\1", "", 0) == CFI_REFUSED); /* a signal's frame */
	cr_assert(RULE(CIE("zR", "\1\0") "\x0c\7\10\x90\1", "", 0) == CFI_REFUSED);
	cr_assert(RULE(CIE("", "") "\x0c\7\10\x90\1", "", 0) == CFI_REFUSED);
	cr_assert(RULE("zR\0\1\x78\x0f\1\x1b\x0c\7\10\x90\1", "", 0) == CFI_REFUSED);
}
