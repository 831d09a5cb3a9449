/* Names of code addresses, from the mapped files' own symbol tables. */
#ifndef QSLAB_TOOLS_SYMBOLS_H
#define QSLAB_TOOLS_SYMBOLS_H

#include "source.h"

struct symbols;

/*
 * Of the mappings, which must outlive it. `pid`: files are looked for as that process sees them; 0: as we do.
 * `demangle`: C++ names as the source has them, where there is a libstdc++ that can.
 */
struct symbols *symbols_new(const struct mappings *mappings, int pid, bool demangle);
void symbols_free(struct symbols *symbols);

/* "function", else "file+0x12", where that is an offset in the file; else the address. Good until symbols_free. */
const char *symbols_name(struct symbols *symbols, uint64_t address);

/* Is the address in qslab's code? `code`: an address that is. */
bool symbols_in_library(struct symbols *symbols, uint64_t address, uint64_t code);

#endif
