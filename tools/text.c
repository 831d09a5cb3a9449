#define _GNU_SOURCE
#include "text.h"

#include <stdbool.h>
#include <string.h>
#include <wchar.h>

/* Bytes of the UTF-8 character at `text`, 0 if there is none. */
static size_t character(const unsigned char *text)
{
	size_t size = *text < 0x80 ? 1 : *text >= 0xc2 && *text < 0xe0 ? 2 : *text >= 0xe0 && *text < 0xf0 ? 3 :
	              *text >= 0xf0 && *text < 0xf5 ? 4 : 0;

	for (size_t i = 1; i < size; i++)
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	if ((*text == 0xe0 && text[1] < 0xa0) || (*text == 0xf0 && text[1] < 0x90) || (*text == 0xf4 && text[1] >= 0x90) ||
	    (*text == 0xed && text[1] >= 0xa0))
		return 0;
	return size;
}

void text_valid(char *to, size_t size, const char *from)
{
	for (size_t used = 0; *from; from += used ? used : 1) {
		used = character((const unsigned char *)from);
		const char *next = used ? from : "\xef\xbf\xbd";
		size_t length = used ? used : 3;
		if (length >= size)
			break;
		memcpy(to, next, length);
		to += length;
		size -= length;
	}
	*to = '\0';
}

/* Also those of 0x80 to 0x9f, by which terminals may be commanded too. */
static bool is_control(const unsigned char *text)
{
	return *text < 0x20 || *text == 0x7f || (*text == 0xc2 && text[1] < 0xa0);
}

void text_printable(char *text)
{
	char *to = text;

	while (*text) {
		size_t size = character((const unsigned char *)text);
		bool prints = size && !is_control((const unsigned char *)text);
		memmove(to, prints ? text : "?", prints ? size : 1);
		to += prints ? size : 1;
		text += size ? size : 1;
	}
	*to = '\0';
}

int text_columns(const char *text)
{
	int columns = 0;

	for (; *text; text++)
		columns += ((unsigned char)*text & 0xc0) != 0x80;
	return columns;
}

size_t text_fitting(const char *text, int columns)
{
	mbstate_t state = {0};
	size_t fits = 0;

	while (text[fits]) {
		wchar_t wide;
		size_t size = mbrtowc(&wide, text + fits, strlen(text + fits), &state);
		bool is_one = size - 1 < (size_t)-3; /* not 0, nor an error */
		int width = is_one ? wcwidth(wide) : 1;
		columns -= width < 0 ? 1 : width;
		if (columns < 0)
			break;
		fits += is_one ? size : 1;
		if (!is_one)
			state = (mbstate_t){0};
	}
	return fits;
}

/* What XML cannot hold. */
static bool is_barred(const unsigned char *text)
{
	return (*text < 0x20 && *text != '\t' && *text != '\n') || *text == 0x7f ||
	       (*text == 0xef && text[1] == 0xbf && text[2] >= 0xbe);
}

void xml_text(FILE *out, const char *text)
{
	while (*text) {
		size_t size = character((const unsigned char *)text);
		if (!size || is_barred((const unsigned char *)text))
			fputc('?', out);
		else if (*text == '&')
			fputs("&amp;", out);
		else if (*text == '<')
			fputs("&lt;", out);
		else if (*text == '>')
			fputs("&gt;", out);
		else if (*text == '"')
			fputs("&quot;", out);
		else
			fwrite(text, 1, size, out);
		text += size ? size : 1;
	}
}
