/*
 * The unwinder's two functions as the private copy of jemalloc names them (tools/private-jemalloc). It calls
 * them only to profile, which is off for good (source_jemalloc.c); without these every process would load
 * libgcc_s.
 */
struct _Unwind_Context;
typedef int trace_function(struct _Unwind_Context *context, void *argument);

int qslab_je__Unwind_Backtrace(trace_function *trace, void *argument);
int qslab_je__Unwind_Backtrace(trace_function *trace, void *argument)
{
	(void)trace, (void)argument;
	return 5; /* _URC_END_OF_STACK */
}

unsigned long qslab_je__Unwind_GetIP(struct _Unwind_Context *context);
unsigned long qslab_je__Unwind_GetIP(struct _Unwind_Context *context)
{
	(void)context;
	return 0;
}
