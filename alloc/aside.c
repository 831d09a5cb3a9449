#define _GNU_SOURCE
#include "aside.h"

#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>

#define STACK ((size_t)64 << 10)

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__) || !(defined(__x86_64__) || defined(__aarch64__))

bool aside(void (*run)(void *), void *argument)
{
	run(argument);
	return true;
}

#else

/* Where to and the old stack lie in registers that every function preserves; the others are named as changed. */
__attribute__((noinline)) static void call_on(char *top, void (*run)(void *), void *argument)
{
#ifdef __x86_64__
	register void *first __asm__("rdi") = argument;
	__asm__ volatile("mov %%rsp, %%rbx\n\t"
	                 "mov %[top], %%rsp\n\t"
	                 "call *%[run]\n\t"
	                 "mov %%rbx, %%rsp"
	                 : "+r"(first)
	                 : [top] "r"(top), [run] "r"(run)
	                 : "rax", "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "cc", "memory", "xmm0", "xmm1", "xmm2",
	                   "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
	                   "xmm15");
#else
	register void *first __asm__("x0") = argument;
	__asm__ volatile("mov x19, sp\n\t"
	                 "mov sp, %[top]\n\t"
	                 "blr %[run]\n\t"
	                 "mov sp, x19"
	                 : "+r"(first)
	                 : [top] "r"(top), [run] "r"(run)
	                 : "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15",
	                   "x16", "x17", "x18", "x19", "x30", "cc", "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7",
	                   "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21",
	                   "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31");
#endif
}

bool aside(void (*run)(void *), void *argument)
{
	char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	sigset_t all, before;

	if (stack == MAP_FAILED)
		return false;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	call_on(stack + STACK, run, argument);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	munmap(stack, STACK);
	return true;
}

#endif
