/* Child processes in tests: run one to its end, with what it reads, writes and may take. */
#ifndef WEFT_TEST_PROC_H
#define WEFT_TEST_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct proc_options {
    const char *in;         /* standard input; NULL: empty */
    size_t in_len;          /* its bytes; 0: strlen(in) */
    const char *const *env; /* "NAME=value" and "NAME" (unset), ended by NULL, on top of this process's */
    const char *cwd;        /* NULL: this one's */
    int timeout_ms; /* 0: 240 s, as kernels may have to be built on a busy machine. Then it is killed */
    int signal;     /* sent … */
    const char *signal_when; /* … once its output holds this */
};

struct proc_result {
    int status; /* exit status; 128 + signal when one ended it */
    bool timed_out;
    char *out, *err; /* NUL-terminated */
    size_t out_len, err_len;
    long peak_kb; /* most memory that was resident at once, in KiB */
    double
        cpu_s; /* processor time, its own children's too: unlike time, it says little about what else runs */
};

/* "LSAN_OPTIONS=…": what the leak sanitizer leaves out (leaks.supp). Each child of proc_run has it. */
extern const char proc_leaks[];

/* Runs argv (argv[0] is a path) to its end. Fails the test when it can't be started. */
void proc_run(const char *const *argv, const struct proc_options *options, struct proc_result *result);
void proc_free(struct proc_result *result);

#endif
