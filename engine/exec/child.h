/*
 * A child process that uses OpenCL apart from this one: to try what may end a process, or to build on a second core. To be
 * forked before this process's first OpenCL call, as it inherits no threads.
 */
#ifndef WEFT_EXEC_CHILD_H
#define WEFT_EXEC_CHILD_H

/* Called by the child right after fork(): signals as by default, nothing logged, standard output and error to nowhere, and
 * its end with its parent's, or after limit_s seconds (SIGALRM; 0: no limit). */
void child_begin(unsigned limit_s);

#endif
