/* The subcommands; each gets what follows its name, and returns the exit status. */
#ifndef QSLAB_TOOLS_COMMAND_H
#define QSLAB_TOOLS_COMMAND_H

#include <stdbool.h>

int command_profile(int count, char **arguments);
int command_run(int count, char **arguments);
int command_stat(int count, char **arguments);
int command_core(int count, char **arguments);
int command_check(int count, char **arguments);
int command_top(int count, char **arguments);
int command_map(int count, char **arguments);
int command_why(int count, char **arguments);
int command_diff(int count, char **arguments);
int command_record(int count, char **arguments);
int command_report(int count, char **arguments);
int command_serve(int count, char **arguments);

/* "qslab: " why what, on stderr; 2. */
int wrong_usage(const char *why, const char *what);

/* "qslab: " why, on stderr; 1. */
int failed(const char *why);

/* Output that could not be written is a failure, not a success. */
int finish_output(void);

/* A number from least to most, with nothing around it. */
bool parse_number(const char *text, long least, long most, long *number);

/* A process's number; else a line, and false. */
bool parse_pid(const char *command, const char *text, int *pid);

#endif
