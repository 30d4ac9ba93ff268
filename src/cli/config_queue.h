/* Of a configuration: how long, and how many requests may wait for a run. */
#ifndef CLI_CONFIG_QUEUE_H
#define CLI_CONFIG_QUEUE_H

#include "cli/config.h"

/* 1 ... 10; 0: its name is none. */
uint32_t config_priority(const struct priority_config *p);
/* queue_timeout, queue_late, priorities: whether they mean something, and go together. */
enum err_code config_check_queue(const struct config *c, const struct model_config *m, struct err *err);

#endif
