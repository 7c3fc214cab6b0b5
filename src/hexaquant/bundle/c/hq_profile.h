/* A profile as hexaquant's qnn-profile-viewer reads it, written while the model runs. Private to the runtime. */
#ifndef HQ_PROFILE_H
#define HQ_PROFILE_H

#include "hq_backend.h"

typedef struct hq_profile hq_profile;

/* Start the file. */
hq_status hq_profile_open(hq_runtime *runtime, const hq_options *options, uint32_t soc, hq_profile **profile,
                          hq_error *error);
/* The library's handle, which each measured call takes. NULL where nothing is measured. */
qnn_handle hq_profile_handle(const hq_profile *profile);
/* Add one call, which took `us`, with what the library measured. */
void hq_profile_add(hq_profile *profile, const char *kind, const char *graph, uint64_t us);
void hq_profile_close(hq_profile *profile);

#endif
