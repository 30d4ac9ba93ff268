/* The roles of the program: each is the same binary, started again by the master with --role=NAME. Contract of a child: descriptor 3 is the lifecycle channel
 * (proc/channel.h), descriptor 4 the crash report segment (proc/report.h); the first message is CHANNEL_LAUNCH. */
#ifndef APP_ROLES_H
#define APP_ROLES_H

#define EXIT_MASTER_GONE 3 /* of children that find nobody at the other end of their channel */

int edge_main(int argc, char **argv);
int worker_main(int argc, char **argv);
int stem_main(int argc, char **argv);
/* A worker in a process that a stem has forked; descriptors 3 and 4 are its own. parent: whose end it does not outlive. */
int worker_forked(int parent);

#endif
