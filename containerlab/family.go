package containerlab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// family is a process and all that it has started, as far as they can be seen; none for process 0.
func family(pid int) []int {
	if pid == 0 {
		return nil
	}
	all := []int{pid}
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return all // cannot be: the pattern is right
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for word := range strings.FieldsSeq(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				all = append(all, family(child)...)
			}
		}
	}
	return all
}
