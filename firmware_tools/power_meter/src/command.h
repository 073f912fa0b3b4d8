/* What the host may ask for. */
#ifndef COMMAND_H
#define COMMAND_H

/* Answers what has come from the host. */
void command_step(void);

#endif
