/* core/module.h: shared objects loaded while the program runs, so that it starts on machines without the
 * libraries they need (MPI, CUDA). */
#ifndef DEEM_CORE_MODULE_H
#define DEEM_CORE_MODULE_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Loads `name` ("deem_mpi.so") from the folder of the program, else from where the loader looks. `global`:
 * libraries loaded later see its symbols. NULL: not loaded, and dlerror() says why. Stays loaded. */
void *module_load(const char *name, bool global);

#ifdef __cplusplus
}
#endif
#endif
