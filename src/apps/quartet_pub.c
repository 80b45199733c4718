/* `quartet pub`, also as mosquitto_pub. */
#include "apps/quartet.h"
#include "tool/tool.h"

int quartet_pub_main(int argc, char **argv) {
    return tool_main(TOOL_PUB, argc, argv);
}
