/* Commands from the host. */
#ifndef COMMAND_H
#define COMMAND_H

#include <stdbool.h>

/* Receives a command, or answers it. */
void command_step(void);
bool command_waits(void);

#endif
