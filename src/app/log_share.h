/* What is logged, as processes tell it each other: in launch messages and in CHANNEL_LOG. */
#ifndef APP_LOG_SHARE_H
#define APP_LOG_SHARE_H

#include "base/json.h"

void log_share_write(struct json_writer *w); /* the choice of this process */
/* Takes over what another process wrote. Unknown members are skipped. */
void log_share_take(struct json_reader *r);
void log_share_take_text(struct str payload);

#endif
