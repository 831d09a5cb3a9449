/* deepbind.c's. */
#include <stdlib.h>
#include <string.h>

void *(*guest_malloc(void))(size_t size)
{
	return malloc;
}

void guest_free(void *object)
{
	free(object);
}

char *guest_copy(const char *text)
{
	return strdup(text);
}
