/*
 * What jemalloc has beside malloc, over the malloc of the C library.
 *
 * A Redis server whose clock is faked has the C library's malloc in the place of jemalloc's, which would ask for the time before libfaketime is
 * ready. Since 8.0 it also calls what only jemalloc has; what one of them gives, the other one must not be given.
 */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

/* As jemalloc has them: the logarithm of the alignment, and whether zeros are wanted. */
#define ALIGNMENT 63
#define ZERO 64

void *mallocx(size_t size, int flags) {
  size_t alignment = (flags & ALIGNMENT) ? (size_t)1 << (flags & ALIGNMENT) : 1;
  void *memory = alignment > 16 ? aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment) : malloc(size);
  if (memory && (flags & ZERO)) memset(memory, 0, size);
  return memory;
}

void *rallocx(void *memory, size_t size, int flags) { (void)flags; return realloc(memory, size); }

void dallocx(void *memory, int flags) { (void)flags; free(memory); }

void sdallocx(void *memory, size_t size, int flags) { (void)size; (void)flags; free(memory); }

size_t nallocx(size_t size, int flags) { (void)flags; return size; }

size_t sallocx(const void *memory, int flags) { (void)flags; return malloc_usable_size((void *)memory); }

/* Nothing is known of its own. */
int mallctl(const char *name, void *told, size_t *length, void *new, size_t new_length) {
  (void)name; (void)new; (void)new_length;
  if (told && length) memset(told, 0, *length);
  return 0;
}
