/* `quartet sub`, also as mosquitto_sub. */
#include "apps/quartet.h"
#include "tool/tool.h"

int quartet_sub_main(int argc, char **argv) {
    return tool_main(TOOL_SUB, argc, argv);
}
