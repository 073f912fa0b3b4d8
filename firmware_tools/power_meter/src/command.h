/* What the host may ask for. */
#ifndef COMMAND_H
#define COMMAND_H

#include <stdbool.h>

/* Takes what has come from the host, or answers it. */
void command_step(void);
bool command_waits(void);

#endif
