/* cli/generate_region.h: a region as a user gives it: a box, a COCO run-length mask, or a file that holds a
 * mask; as the model sees it. */
#ifndef DEEM_CLI_GENERATE_REGION_H
#define DEEM_CLI_GENERATE_REGION_H

#include "core/image.h"
#include "core/resample.h"

/* out (side,side) of 0 and 1: the region `text` of a picture of width x height pixels after the geometry.
 * ST_FAIL: CAUSE_ARG (neither box nor mask, another size, empty), CAUSE_IO, CAUSE_FORMAT, CAUSE_NOMEM. */
enum status region_read(uint8_t *out, uint32_t side, const char *text, uint32_t width,
                        uint32_t height, enum resample_geometry geometry, struct error *err);

#endif
