/* The entry of a verb: arguments in, exit code out. */
#pragma once

#include "tool/options.h"

/* argv[0] is the verb's name or the name under which the program was called. */
int tool_main(enum tool_program program, int argc, char **argv);
