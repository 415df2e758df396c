package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Figure is one line of the table and one element of the JSON list.
type Figure struct {
	Name  string   `json:"name"`
	Value float64  `json:"value"`
	Unit  string   `json:"unit"`
	Floor *float64 `json:"floor"` // what a ratio was divided by, in the unit that the name of the floor's own figure says; null = no floor
	Goal  *string  `json:"goal"`  // of the performance budget, for example "<= 1.6"; null = printed only
}

// figures collects what the sections measure.
type figures struct {
	list []Figure
	log  io.Writer
}

// add records a figure; floor 0 and goal "" mean none.
func (f *figures) add(name string, value float64, unit string, floor float64, goal string) {
	one := Figure{Name: name, Value: rounded(value), Unit: unit}
	if floor != 0 {
		r := rounded(floor)
		one.Floor = &r
	}
	if goal != "" {
		one.Goal = &goal
	}
	f.list = append(f.list, one)
}

// rounded keeps four significant digits: more would claim a precision that no run has.
func rounded(v float64) float64 {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return v
	}
	scale := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(v))))
	return math.Round(v*scale) / scale
}

// check refuses numbers that JSON has no form for: they come from a section that measured nothing.
func (f *figures) check() error {
	seen := map[string]bool{}
	for _, one := range f.list {
		if math.IsNaN(one.Value) || math.IsInf(one.Value, 0) {
			return fmt.Errorf("%s: %v is no measurement", one.Name, one.Value)
		}
		if seen[one.Name] {
			return fmt.Errorf("%s was measured twice", one.Name)
		}
		seen[one.Name] = true
	}
	return nil
}

// table prints the figures for people.
func (f *figures) table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "figure\tvalue\tunit\tfloor\tgoal")
	for _, one := range f.list {
		floor, goal := "", ""
		if one.Floor != nil {
			floor = number(*one.Floor)
		}
		if one.Goal != nil {
			goal = *one.Goal
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", one.Name, number(one.Value), one.Unit, floor, goal)
	}
	return t.Flush()
}

func number(v float64) string {
	if math.Abs(v) >= 1000 {
		return fmt.Sprintf("%.0f", v)
	}
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.3f", v), "0"), ".")
}

// write puts the JSON list into a file, whole or not at all.
func (f *figures) write(file string) error {
	data, err := json.MarshalIndent(f.list, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the figures: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("writing the figures: %w", err)
	}
	if err := os.WriteFile(file+".part", append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the figures: %w", err)
	}
	if err := os.Rename(file+".part", file); err != nil {
		return fmt.Errorf("writing the figures: %w", err)
	}
	return nil
}

// sample is a set of durations in ns.
type sample []int64

// quantile returns the value below which the share q lies, in µs.
func (s sample) quantile(q float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	return float64(sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]) / 1e3
}

func (s sample) p50() float64 { return s.quantile(0.50) }
func (s sample) p99() float64 { return s.quantile(0.99) }

// median is what the rounds of a run are summed up with.
func median(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(v))
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}

func milliseconds(d time.Duration) float64 { return float64(d) / 1e6 }
