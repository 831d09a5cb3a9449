/* A shared object with libqslab.a inside, for dlopen.c, which asks it for the archive's calls. */
#include <qslab/qslab.h>

void *make_of_static(size_t size);

void *make_of_static(size_t size)
{
	return qslab_malloc(size);
}
