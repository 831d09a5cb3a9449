/*
 * old_kernel PROGRAM ARGUMENTS...: runs it as if on Linux 3.13. Calls that came later fail with ENOSYS; advice and
 * mremap flags that came later with EINVAL; MAP_FIXED_NOREPLACE, which an old mmap does not see, is taken out by ptrace.
 * The status is the program's; 77 where this process may not be traced or filtered.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#if !defined(__x86_64__)

int main(void)
{
	puts("knows the registers of x86-64 only");
	return 77;
}

#else

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#define DONTUNMAP_FLAGS (MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP)

#define LOAD(offset) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset)
#define ARGUMENT(n) LOAD(offsetof(struct seccomp_data, args[n])) /* its lower half */
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, value)
#define FAIL(error) RETURN(SECCOMP_RET_ERRNO | (error))
/* Where the test fails, that many statements are stepped over. */
#define UNLESS(test, value, skip) BPF_JUMP(BPF_JMP | (test) | BPF_K, value, 0, skip)

static void install(void)
{
	struct sock_filter filter[] = {
		LOAD(offsetof(struct seccomp_data, arch)),
		UNLESS(BPF_JEQ, AUDIT_ARCH_X86_64, 17),
		LOAD(offsetof(struct seccomp_data, nr)),
		UNLESS(BPF_JGE, __NR_sched_setattr, 1),
		FAIL(ENOSYS),
		UNLESS(BPF_JEQ, __NR_mmap, 3),
		ARGUMENT(3),
		UNLESS(BPF_JSET, MAP_FIXED_NOREPLACE, 11),
		RETURN(SECCOMP_RET_TRACE),
		UNLESS(BPF_JEQ, __NR_mremap, 3),
		ARGUMENT(3),
		UNLESS(BPF_JSET, ~(uint32_t)(MREMAP_MAYMOVE | MREMAP_FIXED), 7),
		FAIL(EINVAL),
		UNLESS(BPF_JEQ, __NR_madvise, 5),
		ARGUMENT(2),
		UNLESS(BPF_JEQ, MADV_FREE, 1),
		FAIL(EINVAL),
		UNLESS(BPF_JGT, MADV_DODUMP, 1),
		FAIL(EINVAL),
		RETURN(SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof filter / sizeof *filter, filter};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
		puts("no system call filter may be installed here");
		_exit(77);
	}
}

/* The old kernel is one: or what runs on it proves nothing. */
static void check(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *taken = mmap(NULL, 2 * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *beside = mmap(taken, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (beside == MAP_FAILED || beside == taken || syscall(__NR_membarrier, 0, 0) != -1 || errno != ENOSYS ||
	    mremap(taken, page, page, DONTUNMAP_FLAGS, taken + page) != MAP_FAILED || errno != EINVAL ||
	    !madvise(taken, page, MADV_FREE) || errno != EINVAL || !madvise(taken, page, MADV_COLD) || errno != EINVAL ||
	    madvise(taken, page, MADV_DONTNEED)) {
		fputs("old_kernel: this kernel is not old\n", stderr);
		_exit(1);
	}
}

static void forget_noreplace(pid_t thread)
{
	size_t flags = offsetof(struct user_regs_struct, r10);
	long value = ptrace(PTRACE_PEEKUSER, thread, flags, NULL);
	ptrace(PTRACE_POKEUSER, thread, flags, value & ~(long)MAP_FIXED_NOREPLACE);
}

/* The program's status: all its threads and children are traced, until it ends. */
static int trace(pid_t program)
{
	for (;;) {
		int status, event;
		pid_t thread = waitpid(-1, &status, __WALL);
		if (thread < 0)
			return 1;
		if (!WIFSTOPPED(status)) {
			if (thread == program)
				return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
			continue;
		}
		event = status >> 16;
		if (event == PTRACE_EVENT_SECCOMP)
			forget_noreplace(thread);
		if (event == PTRACE_EVENT_STOP && WSTOPSIG(status) != SIGTRAP)
			ptrace(PTRACE_LISTEN, thread, NULL, NULL);
		else
			ptrace(PTRACE_CONT, thread, NULL, event ? 0L : (long)WSTOPSIG(status));
	}
}

int main(int count, char **arguments)
{
	int traced[2];
	char byte;

	if (count < 2) {
		fputs("usage: old_kernel PROGRAM ARGUMENTS...\n", stderr);
		return 2;
	}
	if (pipe(traced))
		return 1;
	pid_t child = fork();
	if (child < 0)
		return 1;
	if (child == 0) {
		close(traced[1]);
		if (read(traced[0], &byte, 1) != 1)
			_exit(77);
		close(traced[0]);
		install();
		check();
		execvp(arguments[1], arguments + 1);
		perror(arguments[1]);
		_exit(127);
	}
	if (ptrace(PTRACE_SEIZE, child, NULL, PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK |
	           PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC)) {
		perror("this process's child may not be traced");
		return 77;
	}
	close(traced[0]);
	if (write(traced[1], "", 1) != 1)
		return 1;
	close(traced[1]);
	return trace(child);
}

#endif
