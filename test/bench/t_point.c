/* When a rate holds. */
#include <string.h>

#include "bench/point.h"
#include "t.h"

static struct point p;

TEST(a_rate_holds_only_when_requests_were_timed)
{
    memset(&p, 0, sizeof p);
    p.kind = LOAD_POISSON;
    p.rate = 1;
    p.answers = 1; /* begun before the window */
    p.rps.median = 1;
    EXPECT(!point_holds(&p, 1000));
    histogram_record(&p.latency, 900);
    p.p99_us.median = 0.9;
    EXPECT(point_holds(&p, 1000));
    EXPECT(!point_holds(&p, 800));
    p.timeouts = 1;
    EXPECT(!point_holds(&p, 1000));
}
